"""Imports point one way: a file imports from its own layer and from those below it, never from one above."""

import ast
from collections.abc import Iterator
from functools import cache
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
ARCHITECTURE = (ROOT / "ARCHITECTURE.md").read_text(encoding="utf-8")
LAYERS = [line.split() for line in ARCHITECTURE.partition("```layers\n")[2].partition("```")[0].splitlines()]
"""The rooms of `understudy`, from the lowest to the highest, as ARCHITECTURE.md lists them."""
PLUGINS = LAYERS[7]
PREFECT = ("tasks", "flows", "deployments")
MOST_TOP_MODULES = 16
MOST_DEPTH = 14
HEIGHT = {room: height for height, layer in enumerate(LAYERS) for room in layer}


@cache
def modules() -> dict[str, Path]:
    """Dotted name > file, with flows/, tasks/ and deployments/ as the packages that they are installed as."""
    folders = [("understudy", ROOT / "understudy"), *((f"understudy.{name}", ROOT / name) for name in PREFECT)]
    return {
        ".".join((package, *file.relative_to(folder).with_suffix("").parts)).removesuffix(".__init__"): file
        for package, folder in folders
        for file in sorted(folder.rglob("*.py"))
    }


def imported(file: Path, at_import: bool = False) -> Iterator[str]:
    """Every module a file imports, ours as the module itself; with `at_import` not those inside functions."""
    pending: list[ast.AST] = [ast.parse(file.read_text(encoding="utf-8"))]
    while pending:
        node = pending.pop()
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            for alias in node.names:
                inside = f"{node.module}.{alias.name}"
                yield inside if inside in modules() else node.module
        elif not (at_import and isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)):
            pending.extend(ast.iter_child_nodes(node))


def room(module: str) -> str | None:
    """The part of `understudy` that a module is in; None for the package itself and for other packages."""
    parts = module.split(".")
    return parts[1] if parts[0] == "understudy" and len(parts) > 1 else None


def test_imports_point_one_way() -> None:
    wrong = []
    for module, file in modules().items():
        own = room(module)
        for name in imported(file) if own else ():
            other = room(name)
            if other and (HEIGHT[other] > HEIGHT[str(own)] or (other != own and {own, other} <= {*PLUGINS})):
                wrong.append(f"{module} may not import {name}")
            if name.split(".")[0] == "prefect" and own not in PREFECT:
                wrong.append(f"{module} may not import Prefect")
    assert not wrong, "\n".join(wrong)


def test_no_import_is_deep_and_none_goes_in_a_circle() -> None:
    depths: dict[str, int] = {}

    def depth(module: str, way: tuple[str, ...] = ()) -> int:
        assert module not in way, f"an import goes in a circle: {' > '.join((*way, module))}"
        if module not in depths:
            inner = {name for name in imported(modules()[module], at_import=True) if name in modules()}
            # A package that gathers its own modules imports them; they import nothing from it.
            depths[module] = 1 + max((depth(name, (*way, module)) for name in inner - {module}), default=-1)
        return depths[module]

    deepest = max(modules(), key=depth)
    assert depths[deepest] <= MOST_DEPTH, f"{deepest} imports {depths[deepest]} modules deep"


def test_the_top_fits_on_a_screen_and_every_module_says_what_it_is() -> None:
    top = sorted(file.stem for file in (ROOT / "understudy").glob("*.py") if file.stem != "__init__")
    assert len(top) <= MOST_TOP_MODULES, top
    for file in modules().values():
        text = file.read_text(encoding="utf-8")
        assert not text.strip() or ast.get_docstring(ast.parse(text)), f"{file} has no docstring"
