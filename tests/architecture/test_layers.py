"""Imports point one way: flows > tasks > stages > kernel; plugins see the kernel and never each other."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
KERNEL = {
    f"understudy.{name}"
    for name in (
        "calls",
        "captions",
        "cards",
        "catalog",
        "comparisons",
        "config",
        "decisions",
        "describe",
        "description",
        "errors",
        "formats",
        "imported",
        "interfaces",
        "forgetting",
        "leakage",
        "ledger",
        "locks",
        "loopback",
        "markdown",
        "memory",
        "mirror",
        "parts",
        "preflight",
        "progress",
        "readers",
        "records",
        "refusals",
        "registry",
        "sections",
        "similarity",
        "statistics",
        "store",
        "stylometry",
        "suites",
        "text",
        "thinking",
        "trials",
        "verdicts",
        "worker",
        "workspace",
    )
}
PLUGINS = ("sources", "teachers", "gates", "bases", "trainers", "exporters", "engines", "metrics")
FENCED = ("understudy", "tasks", "flows", "prefect")
FILES = [f for top in ("understudy", "tasks", "flows") for f in sorted((ROOT / top).rglob("*.py"))]


def allowed(folder: str) -> tuple[str, ...]:
    """Prefixes of our own packages and the fenced frameworks that files in `folder` may import."""
    if folder == "flows":
        return ("flows", "tasks", "understudy", "prefect")
    if folder == "tasks":
        return ("tasks", "understudy", "prefect")
    parts = folder.split("/")
    own = f"understudy.{parts[1]}" if len(parts) > 1 else None
    return tuple(sorted(KERNEL)) + ((own,) if own else ("understudy",))


def imports(file: Path) -> list[str]:
    found = []
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module == "understudy":
            found += [f"understudy.{alias.name}" for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module:
            found.append(node.module)
    return [name for name in found if name.split(".")[0] in FENCED]


@pytest.mark.parametrize("file", FILES, ids=lambda f: f.relative_to(ROOT).as_posix())
def test_imports_point_one_way(file: Path) -> None:
    may = allowed(file.relative_to(ROOT).parent.as_posix())
    wrong = [name for name in imports(file) if not any(name == m or name.startswith(f"{m}.") for m in may)]
    assert not wrong, f"{file.relative_to(ROOT)} may not import {wrong}"


@pytest.mark.parametrize("file", [f for f in FILES if f.parts[-2] in PLUGINS], ids=lambda f: "/".join(f.parts[-2:]))
def test_no_plugin_imports_a_stage_or_another_kind_of_plugin(file: Path) -> None:
    others = {f"understudy.{kind}" for kind in (*PLUGINS, "stages") if kind != file.parts[-2]}
    assert not [name for name in imports(file) if name.startswith(tuple(others))]


@pytest.mark.parametrize("file", FILES, ids=lambda f: f.relative_to(ROOT).as_posix())
def test_every_module_says_what_it_is(file: Path) -> None:
    text = file.read_text(encoding="utf-8")
    assert not text.strip() or ast.get_docstring(ast.parse(text))
