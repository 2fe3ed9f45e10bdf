"""
Write the pages of docs/reference from the code: `make reference`. A test fails when they are not what this writes.

    preset.md       every key of a preset, and the options of every plugin
    commands.md     what each verb prints for --help
    assets.md       what is on disk, and the fields of every record
    checks.md       gates, metrics and suites: what each looks at
    prompts.md      what a teacher, verifier and judge are asked with
    environment.md  variables that are read, exit statuses, errors
"""

import importlib
import inspect
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin
from unittest import mock

from pydantic import BaseModel
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

from understudy import cli, errors, records, registry, sections
from understudy.calls import prompting
from understudy.catalog import CATALOG
from understudy.config import Config
from understudy.scoring import suites

FOLDER = Path(__file__).resolve().parents[1] / "docs/reference"
COLUMNS = 110
VARIABLES = {
    "OPENAI_API_KEY": "the teacher's key, unless `teacher.key_env` names another variable; `.env` here is read, too",
    "HF_TOKEN": "for gated bases, and for `understudy publish`",
    "HF_ENDPOINT": "a mirror of the Hugging Face Hub",
    "HF_HOME": "where downloaded bases are kept, as in every program that uses the Hub",
    "OLLAMA_MODELS": "Ollama's models, where they are not in the usual folder",
    "UNDERSTUDY_LOCAL_SERVERS": "where a local model is looked for, in place of Ollama, LM Studio and llama.cpp",
    "UNDERSTUDY_HOME": "on a rented machine: where bases and trainings are kept; ~/understudy",
    "UNDERSTUDY_WATCH_SECONDS": "how often the watch beside a deployed server looks; 30",
    "UNDERSTUDY_SERVER_MB": "memory from which on the watch restarts the server; 1000",
    "UNDERSTUDY_TORCH_INDEX": "`make torch`: an index of builds without CUDA",
    "PREFECT_API_URL": "a Prefect server that runs are recorded at; none: a temporary one",
    "PREFECT_HOME": "Prefect's own files; none: a folder of the home, apart from the user's",
    "PREFECT_LOGGING_LEVEL": "as Prefect documents it",
    "XDG_STATE_HOME": "where the list of deployed homes and locks between processes are; ~/.local/state",
    "XDG_CONFIG_HOME": "where `deploy --at-login` writes its unit; ~/.config",
    "MPLCONFIGDIR": "matplotlib's cache; none: a temporary folder",
    "http_proxy": "and https_proxy: for sources and teachers; never on the way to 127.0.0.1",
}


def pages() -> dict[str, str]:
    """Name of each page > its text."""
    written = {
        "preset.md": _preset(),
        "commands.md": _commands(),
        "assets.md": _assets(),
        "checks.md": _checks(),
        "prompts.md": _prompts(),
        "environment.md": _environment(),
    }
    note = "*Written by `make reference` from the code.*"
    return {
        name: f"{text.split(chr(10), 1)[0]}\n\n{note}\n{text.split(chr(10), 1)[1].rstrip()}\n"
        for name, text in written.items()
    }


def _preset() -> str:
    lines = [
        "# Every key of a preset",
        "",
        "A preset is a YAML file; `--set section.key=value` changes one key. What is left out is as in the demo.",
        "",
        *_table(Config),
    ]
    seen: dict[type[BaseModel], str] = {}
    lines += _sections(Config, "##", "", seen)
    for kind, plugins in registry.PLUGINS.items():
        lines += ["", f"## {kind}: plugins", ""]
        for name in plugins:
            plugin = registry.resolve(kind, name)
            lines += [f"### use: {name}", "", _first(plugin), "", *_table(plugin.Options)]
            lines += [*_sections(plugin.Options, "####", f"{kind}.", seen), ""]
    return "\n".join(lines)


def _sections(model: type[BaseModel], heading: str, before: str, seen: dict[type[BaseModel], str]) -> list[str]:
    """The keys of the sections in a model, and of those in them; of sections that are alike, the first."""
    lines = []
    for name, field in model.model_fields.items():
        inner = _model_in(field)
        if inner and inner is not sections.PluginSpec and inner.model_fields and inner not in seen:
            seen[inner] = f"{before}{name}"
            lines += ["", f"{heading} {before}{name}", "", *_table(inner)]
            lines += _sections(inner, f"{heading}#", f"{before}{name}.", seen)
    return lines


def _commands() -> str:
    lines = ["# Commands", "", cli.EXIT_STATUS]
    with mock.patch.dict("os.environ", {"COLUMNS": str(COLUMNS)}):
        for verb, (_, about) in cli.VERBS.items():
            help_text = cli.parser_of(verb)[0].format_help()
            lines += [
                "",
                f"## understudy {verb}",
                "",
                f"{about[0].upper()}{about[1:]}.",
                "",
                "```",
                help_text.rstrip(),
                "```",
            ]
    return "\n".join(lines)


def _assets() -> str:
    rows = [
        (f"`{name}`", f"`{asset.path}`", f"`{asset.record.__name__}`" if asset.record else "", asset.stage,
         ", ".join(asset.inputs), ", ".join(asset.settings))
        for name, asset in CATALOG.items()
    ]  # fmt: skip
    lines = [
        "# What is on disk",
        "",
        "Each row is one kind of file or folder; paths are relative to the home folder. An asset is made again when",
        "one of its inputs, its sections of the preset or its stage's version changed.",
        "",
        *_rows(("asset", "path", "record", "stage", "made of", "sections"), rows),
        "",
        "## Records",
    ]
    known = {
        name: value for name, value in vars(records).items() if inspect.isclass(value) and issubclass(value, BaseModel)
    }
    for name, record in sorted(known.items()):
        if record.__module__.startswith("understudy.records") and record.model_fields:
            lines += ["", f"### {name}", "", _first(record), "", *_table(record)]
    return "\n".join(lines)


def _checks() -> str:
    lines = ["# Gates, metrics and suites", "", "## Gates", ""]
    for title, kind in (("", "gate"), ("## Metrics", "metric")):
        lines += [title, ""] if title else []
        for name in registry.PLUGINS[kind]:
            plugin = registry.resolve(kind, name)
            text = inspect.getdoc(importlib.import_module(plugin.__module__)) or inspect.getdoc(plugin) or ""
            lines += [f"### {name}", "", *_plain(text), ""]
    lines += ["## Suites", "", *_plain(inspect.getdoc(suites) or "")]
    return "\n".join(lines)


def _prompts() -> str:
    lines = ["# What models are asked with", "", "`prompts.NAME` of a preset replaces one of these texts."]
    for recipe in registry.PLUGINS["recipe"]:
        for file in sorted((prompting.RECIPES / recipe / "prompts").glob("*.md")):
            lines += [
                "",
                f"## {recipe}: {file.stem}",
                "",
                "~~~text",
                file.read_text(encoding="utf-8-sig").strip(),
                "~~~",
            ]
    return "\n".join(lines)


def _environment() -> str:
    lines = ["# Environment, exit statuses, errors", "", "## Variables", ""]
    lines += _rows(("variable", "what it is for"), [(f"`{name}`", text) for name, text in VARIABLES.items()])
    lines += ["", "## Exit status", "", cli.EXIT_STATUS, "", "## Errors", ""]
    lines += _plain(inspect.getdoc(errors) or "")
    lines += ["", "What to do about each: [when something goes wrong](../troubleshooting.md)."]
    return "\n".join(lines)


def _table(model: type[BaseModel]) -> list[str]:
    rows = []
    model.model_rebuild()  # a name that stands before its class is known only then
    for name, field in model.model_fields.items():
        rows.append((f"`{name}`", _type(field), _default(field), field.description or _first(_model_in(field))))
    return _rows(("key", "type", "default", "what it is"), rows) if rows else ["It has no options."]


def _rows(heads: tuple[str, ...], rows: list[tuple[str, ...]]) -> list[str]:
    cells = [tuple(" ".join(str(cell).split()).replace("|", "\\|") for cell in row) for row in rows]
    return [f"| {' | '.join(heads)} |", f"|{'---|' * len(heads)}", *(f"| {' | '.join(row)} |" for row in cells)]


def _type(field: FieldInfo) -> str:
    return _spelled(field.annotation)


def _spelled(annotation: Any) -> str:
    """A type in words; members of a union by name, since Python keeps the order it met first."""
    origin, inner = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        return _spelled(inner[0])
    if origin is Literal:
        return " or ".join(map(str, inner))
    if origin in (Union, UnionType):
        names = sorted(_spelled(one) for one in inner if one is not NoneType)
        return ", or ".join([" or ".join(names), *(["none"] if NoneType in inner else [])])
    name = getattr(origin or annotation, "__name__", str(annotation))
    return f"{name}[{', '.join(map(_spelled, inner))}]" if inner else name


def _default(field: FieldInfo) -> str:
    if field.is_required():
        return "required"
    value = field.get_default(call_default_factory=True, validated_data={})
    if value is None or value is PydanticUndefined:
        return ""
    if isinstance(value, sections.PluginSpec):
        return f"`use: {value.use}`"
    if isinstance(value, BaseModel):
        text = json.dumps(value.model_dump(mode="json"))
        return f"`{text}`" if len(text) < 80 else "its own, see there"
    if isinstance(value, list) and value and isinstance(value[0], sections.PluginSpec):
        return f"`[{', '.join(one.use for one in value)}]`"
    return f"`{value}`"


def _model_in(field: FieldInfo | None) -> type[BaseModel] | None:
    annotation = field.annotation if field else None
    return annotation if inspect.isclass(annotation) and issubclass(annotation, BaseModel) else None


def _first(thing: type[Any] | None) -> str:
    """The first paragraph of a docstring."""
    return " ".join((inspect.getdoc(thing) or "").split("\n\n")[0].split()) if thing else ""


def _plain(text: str) -> Iterator[str]:
    """A docstring as it stands in the code, where white space has a meaning."""
    yield from ("```text", text.strip(), "```")


def main(arguments: list[str]) -> int:
    """Write the pages; with --check, say which differ from what is there."""
    FOLDER.mkdir(exist_ok=True)
    different = []
    for name, text in pages().items():
        file = FOLDER / name
        if not file.exists() or file.read_text(encoding="utf-8") != text:
            different.append(name)
            if "--check" not in arguments:
                file.write_text(text, encoding="utf-8")
    print(f"{', '.join(different) or 'nothing'} {'would change' if '--check' in arguments else 'written'}")
    return int(bool(different) and "--check" in arguments)


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
