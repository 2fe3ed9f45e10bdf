"""
mypy over everything that is installed: `python tests/typecheck.py [PATH ...]` shows the errors, of these paths only.

flows/, tasks/ and deployments/ are installed inside `understudy`, which mypy cannot know: it is shown a folder of
links that looks like the installed package.
"""

import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
INSIDE = ("flows", "tasks", "deployments")


def main(paths: list[str]) -> int:
    """Print mypy's findings with the paths of the checkout; returns its exit status."""
    with tempfile.TemporaryDirectory() as folder:
        package = Path(folder) / "understudy"
        package.mkdir()
        for path in (*(ROOT / "understudy").iterdir(), *(ROOT / name for name in INSIDE)):
            if path.name != "__pycache__":
                (package / path.name).symlink_to(path)
        command = [sys.executable, "-m", "mypy", "--config-file", str(ROOT / "pyproject.toml")]
        command += ["--cache-dir", str(ROOT / ".mypy_cache"), "--package", "understudy"]
        mypy = subprocess.run(command, cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    *findings, summary = [_as_in_checkout(line) for line in mypy.stdout.splitlines()] or [""]
    for line in findings:
        if not paths or line.startswith(tuple(paths)):
            print(line)
    print(summary)
    return mypy.returncode


def _as_in_checkout(line: str) -> str:
    inside = line.removeprefix("understudy/")
    return inside if inside.startswith(tuple(f"{name}/" for name in INSIDE)) else line


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
