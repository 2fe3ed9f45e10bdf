"""The wheel: nothing but `understudy`, complete, and usable from an empty folder."""

import json
import os
import shutil
import site
import stat
import subprocess
import sys
import venv
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
SOURCES = ("understudy", "flows", "tasks", "deployments", "pyproject.toml", "setup.py", "README.md", "LICENSE",
           "MANIFEST.in", "prefect.toml", "prefect.yaml")  # fmt: skip
BUILD = "from setuptools import build_meta; import sys; print(getattr(build_meta, sys.argv[1])(sys.argv[2]))"


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Built offline, from the source distribution of a copy, so that the checkout gets no build folder."""
    pytest.importorskip("setuptools", minversion="77", reason="pip install 'setuptools>=77' wheel")
    source, out = tmp_path_factory.mktemp("source"), tmp_path_factory.mktemp("wheel")
    for name in SOURCES:
        if (ROOT / name).is_dir():
            shutil.copytree(ROOT / name, source / name, symlinks=True, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(ROOT / name, source / name)
    build("build_sdist", source, out)
    [archive] = out.glob("*.tar.gz")
    shutil.unpack_archive(archive, out, filter="data")
    build("build_wheel", out / archive.name.removesuffix(".tar.gz"), out)
    [file] = out.glob("*.whl")
    return file


def build(what: str, source: Path, out: Path) -> None:
    done = subprocess.run([sys.executable, "-c", BUILD, what, str(out)], cwd=source, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-3000:]


@pytest.fixture(scope="module")
def packages(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The site-packages of a fresh environment with the wheel; its dependencies are those of this one."""
    folder = tmp_path_factory.mktemp("environment")
    venv.create(folder, with_pip=False)
    packages = next(folder.glob("lib/python*/site-packages"))
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(packages)
    ours = [path for path in (*site.getsitepackages(), *sys.path) if path.endswith("site-packages")]
    (packages / "dependencies.pth").write_text("\n".join(dict.fromkeys(ours)))
    return packages


def run(packages: Path, *command: str, folder: Path) -> subprocess.CompletedProcess[str]:
    """A command of the fresh environment, in a folder that has nothing of the checkout."""
    python = packages.parents[2] / "bin" / "python"
    environment = {k: v for k, v in os.environ.items() if not k.startswith(("PYTHON", "PREFECT_"))}
    environment |= {"PREFECT_HOME": str(folder / ".prefect"), "HOME": str(folder)}
    return subprocess.run([str(python), *command], cwd=folder, env=environment, capture_output=True, text=True)


def test_nothing_is_at_the_top_but_the_package_and_its_metadata(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
    tops = {name.split("/")[0] for name in names}
    assert sorted(top.partition("-")[2].rpartition(".")[2] or top for top in tops) == ["dist-info", "understudy"]
    assert len(names) == len(set(names))


def test_every_file_of_the_packages_is_in_the_wheel(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        packed = set(archive.namelist())
    folders = {"understudy": ROOT / "understudy"} | {
        f"understudy/{name}": ROOT / name for name in ("flows", "tasks", "deployments")
    }
    tracked = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True).stdout.splitlines()
    expected = {
        f"{package}/{Path(name).relative_to(folder.name)}"
        for package, folder in folders.items()
        for name in tracked
        if name.startswith(f"{folder.name}/") and (ROOT / name).exists()
    }
    left_out = {name for name in expected if "/kubernetes/" in name or "Dockerfile" in name}
    assert expected - left_out <= packed, sorted(expected - left_out - packed)
    assert {"understudy/deployments/prefect.toml", "understudy/deployments/prefect.yaml"} <= packed


def test_every_module_is_imported_from_the_wheel(packages: Path, tmp_path: Path) -> None:
    script = (
        "import importlib, pathlib, understudy; root = pathlib.Path(understudy.__file__).parent\n"
        "names = ['.'.join(('understudy', *f.relative_to(root).with_suffix('').parts)) for f in root.rglob('*.py')]\n"
        "for name in names:\n"
        "    try:\n"
        "        module = importlib.import_module(name.removesuffix('.__init__'))\n"
        "    except ModuleNotFoundError as error:\n"
        "        assert error.name in ('torch', 'peft', 'accelerate', 'psutil'), name  # of an extra\n"
        "        continue\n"
        "    assert module.__file__.startswith(str(root)), name\n"
        "print(len(names))"
    )
    done = run(packages, "-c", script, folder=tmp_path)
    assert done.returncode == 0, done.stderr[-2000:]
    assert int(done.stdout) > 200 and not list(tmp_path.glob("*.log"))


def test_the_sample_dataset_is_made_in_an_empty_folder_and_site_packages_stays_as_it_is(
    packages: Path, tmp_path: Path
) -> None:
    """Also where site-packages cannot be written to, as far as this user can be kept from it."""
    before = {file: file.stat().st_mtime_ns for file in packages.rglob("*")}
    for folder in [packages, *(f for f in packages.rglob("*") if f.is_dir())]:
        folder.chmod(stat.S_IRUSR | stat.S_IXUSR)
    try:
        done = run(
            packages,
            "-B",
            "-m",
            "understudy",
            "run",
            "--preset",
            "tiny",
            "--only",
            "dataset",
            "--json",
            folder=tmp_path,
        )
    finally:
        for folder in [packages, *(f for f in packages.rglob("*") if f.is_dir())]:
            folder.chmod(stat.S_IRWXU)
    assert done.returncode == 0, done.stderr[-2000:]
    assert json.loads(done.stdout)["counts"]["talks"] == {"ok": 14}
    assert (tmp_path / "data/sample/dataset/train.jsonl").is_file()
    assert {file: file.stat().st_mtime_ns for file in packages.rglob("*")} == before


def test_the_metadata_names_the_command_and_the_python(packages: Path) -> None:
    [folder] = packages.glob("understudy-*.dist-info")
    assert "understudy = understudy.cli:main" in (folder / "entry_points.txt").read_text()
    assert "Requires-Python: >=3.11" in (folder / "METADATA").read_text()
