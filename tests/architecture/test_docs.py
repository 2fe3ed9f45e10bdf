"""README is short, links lead somewhere, reference pages are what the code says, and every error is explained."""

import difflib
import inspect
import re
from pathlib import Path

import pytest

from tests import reference
from understudy import errors

ROOT = Path(__file__).resolve().parents[2]
PAGES = [*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")]
LINK = re.compile(r"\]\(([^)#\s]+)(?:#[^)]*)?\)")
READ = re.compile(r"""environ(?:\.get\(|\.setdefault\(|\[)\s*["']([A-Z_a-z]+)["']""")
SET_HERE = {"RANK", "MLX_RANK", "OMPI_COMM_WORLD_RANK", "MLX_BFS_MAX_WIDTH"}
"""What one process of this program tells another."""


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)).replace("/", "-"))
def test_every_link_leads_somewhere(page: Path) -> None:
    targets = [one for one in LINK.findall(page.read_text(encoding="utf-8")) if not one.startswith("http")]
    assert [one for one in targets if not (page.parent / one).exists()] == []


def test_the_readme_is_short_and_every_page_is_listed() -> None:
    assert len((ROOT / "README.md").read_text(encoding="utf-8").splitlines()) <= 120
    listed = LINK.findall((ROOT / "docs/README.md").read_text(encoding="utf-8"))
    pages = {page.relative_to(ROOT / "docs").as_posix() for page in (ROOT / "docs").rglob("*.md")} - {"README.md"}
    assert pages == set(listed)
    site = (ROOT / "zensical.toml").read_text(encoding="utf-8")
    assert [page for page in pages if f'"{page}"' not in site] == []


def test_the_reference_is_what_the_code_says() -> None:
    for name, text in reference.pages().items():
        there = (reference.FOLDER / name).read_text(encoding="utf-8").splitlines()
        changes = list(difflib.unified_diff(there, text.splitlines(), name, "the code", lineterm="", n=0))
        assert changes == [], "run make reference"


def test_every_error_is_explained() -> None:
    page = (ROOT / "docs/troubleshooting.md").read_text(encoding="utf-8")
    known = [name for name, one in vars(errors).items() if inspect.isclass(one) and issubclass(one, Exception)]
    assert [name for name in known if f"`{name}`" not in page and name != "UnderstudyError"] == []


def test_every_variable_that_is_read_is_listed() -> None:
    folders = ("understudy", "flows", "tasks", "deployments")
    files = [file for folder in folders for file in (ROOT / folder).rglob("*.py")]
    read = {name for file in files for name in READ.findall(file.read_text(encoding="utf-8"))}
    assert {"OLLAMA_MODELS", "PREFECT_HOME"} <= read
    assert read - SET_HERE - set(reference.VARIABLES) == set()
