"""
`python -m tests.homes`: the home of this release, packed as tests/homes/VERSION.tar.gz for the tests of later ones.

Three talks of the sample channel, a teacher on the loopback server, the smallest base: everything that a run leaves.
"""

import shutil
import subprocess
import sys
import tarfile
import tempfile
import tomllib
from fnmatch import fnmatch
from pathlib import Path

import yaml

from tests.fixtures.teacher_server import Plan, TeacherServer
from tests.flows.machine import clean

ROOT = Path(__file__).resolve().parents[2]
PRESET = "preset.yaml"
LEFT_OUT = ("logs", "checkpoints", "last", "best", "model.safetensors", "*-F16.gguf", "*.scoring")
"""What is large and can be made again: a home of the archive keeps one file of its model."""


def preset(url: str) -> dict[str, object]:
    """The preset of the home: every section that leaves something on the disk, as small as it can be."""
    return {
        "name": "tea",
        "permission": "owned",
        "source": {"use": "documents", "path": "talks"},
        "teacher": {"use": "openai", "model": "gpt-5-mini", "base_url": url},
        "questions": {"seconds_per_question": 30},
        "gates": [{"use": "length"}],
        "split": {"valid": 0.2, "test": 0.3},
        "base": {"use": "scratch", "steps": 2, "layers": 1, "vocabulary": 400, "context": 512},
        "trainer": {"use": "mlx_lora", "epochs": 0.1, "evaluations_per_epoch": 1},
        "export": {"types": ["Q8_0"]},
        "evaluate": {"questions": 2, "max_tokens": 12, "suites": "quick"},
        "runner": {"use": "threads", "workers": 2},
    }


def make(out: Path) -> None:
    """Run everything once and pack the home into `out`."""
    with tempfile.TemporaryDirectory() as folder, TeacherServer(Plan()) as server:
        home = Path(folder) / "home"
        (home / "talks").mkdir(parents=True)
        for file in sorted((ROOT / "deployments/sample_channel").glob("0*"))[:3]:
            shutil.copy(file, home / "talks")
        (home / PRESET).write_text(yaml.safe_dump(preset(server.url), sort_keys=False), encoding="utf-8")
        command = [sys.executable, "-m", "understudy", "run", "--preset", PRESET, "--home", "."]
        subprocess.run(command, cwd=home, env=clean(OPENAI_API_KEY="none"), check=True)
        with tarfile.open(out, "w:gz") as archive:
            archive.add(home, arcname=".", filter=_wanted)


def _wanted(entry: tarfile.TarInfo) -> tarfile.TarInfo | None:
    entry.uname = entry.gname = ""
    return None if any(fnmatch(Path(entry.name).name, pattern) for pattern in LEFT_OUT) else entry


if __name__ == "__main__":
    version = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["version"]
    make(ROOT / "tests" / "homes" / f"{version.partition('.dev')[0]}.tar.gz")
