"""
Where an exported file goes: a Modelfile beside each, Ollama and LM Studio where the preset asks for it.

What other programs refuse never ends a run that has trained for hours: it is logged, with the line to
type instead.
"""

import json
import logging
import os
import shlex
import shutil
import sys
from collections.abc import Mapping
from pathlib import Path

from understudy import store
from understudy.errors import UnderstudyError
from understudy.exporters import templates
from understudy.records import AssetRef, ChatExample, GgufCard, ModelRefs
from understudy.serving import REPEAT_PENALTY, Sampling, lmstudio, ollama
from understudy.workspace import Workspace

log = logging.getLogger("understudy.stages.install")

VERSION = 1
CONTEXT_TOKENS = 8192
"""At most; a longer context takes memory from the first word on, whether it is used or not."""
PUBLISHER = "understudy"
"""The folder LM Studio shows our models under."""


def modelfiles(workspace: Workspace, model: ModelRefs, train: AssetRef | None = None) -> dict[str, AssetRef]:
    """Type > Modelfile beside each exported file. A system message is in it only when `train` begins with one."""
    first: GgufCard = workspace.read(next(iter(model.files.values())))
    if first.template is None:
        log.warning("no Modelfile: nothing is known of the template in the exported files; export them again")
        return {}
    template = templates.family(first.template.family).ollama_template() if first.template.family else None
    system, context = _system(workspace, train), _context(workspace.file(model.fused))
    sampling = {"temperature": Sampling().temperature, "repeat_penalty": REPEAT_PENALTY}
    refs = {}
    for kind, ref in model.files.items():
        name = workspace.file(ref).name
        text = ollama.modelfile(name, template, first.template.stops, sampling, context, system)
        fingerprint = store.fingerprint("modelfile", ref.sha256, VERSION, text)
        keys = {"run": model.run, "type": kind}
        refs[kind] = workspace.fresh("modelfile", fingerprint, **keys) or workspace.save_text(
            "modelfile", text, fingerprint, **keys
        )
    return refs


def how_to_run(workspace: Workspace, model: ModelRefs, refused: Mapping[str, str]) -> list[str]:
    """What to type, or where the model is now, a line each; done already where the preset asks for it."""
    offered = {kind: workspace.file(ref) for kind, ref in model.files.items() if kind not in refused}
    if not offered:
        return ["no file is offered: the parity check refused all of them, see the report"]
    file = min(offered.values(), key=lambda path: path.stat().st_size)
    home = "" if workspace.home == Path.cwd() else f" --home {shlex.quote(str(workspace.home))}"
    lines = [f"{program()} chat {workspace.config.name}/{model.run}{home}"]
    return [*lines, *_in_ollama(workspace, file), *_in_lm_studio(workspace, file)]


def program() -> str:
    """The command `understudy` of this environment, as it is typed from the current folder."""
    program = Path(sys.executable).with_name("understudy")
    if shutil.which("understudy") == str(program):
        return "understudy"
    start, rest = (program, "") if program.is_file() else (Path(sys.executable), " -m understudy")
    near = os.path.relpath(start)
    return shlex.quote(str(start) if near.startswith("..") else near) + rest


def _in_ollama(workspace: Workspace, gguf: Path) -> list[str]:
    file, name = gguf.with_suffix(".Modelfile"), workspace.config.name
    if not file.is_file():
        return []
    try:
        return ollama.create(file, name) if workspace.config.export.ollama == "auto" else ollama.lines(file, name)
    except UnderstudyError as error:
        log.warning("%s", error)
        return ollama.lines(file, name)


def _in_lm_studio(workspace: Workspace, gguf: Path) -> list[str]:
    by_hand, folder = f"lms import {shlex.quote(str(gguf))}", lmstudio.models_folder()
    if workspace.config.export.lm_studio == "off":
        return [by_hand]
    if not folder.parent.is_dir():
        log.info("LM Studio is not installed (no %s); nothing was placed there", folder.parent)
        return [by_hand]
    try:
        path = lmstudio.place(gguf, PUBLISHER, workspace.config.name, folder)
    except UnderstudyError as error:
        log.warning("%s", error)
        return [by_hand]
    return [f"LM Studio lists it as {PUBLISHER}/{workspace.config.name} ({path})"]


def _system(workspace: Workspace, train: AssetRef | None) -> str | None:
    if train is None:
        return None
    with workspace.file(train).open(encoding="utf-8") as lines:
        row = next(lines, None)
    messages = ChatExample.model_validate_json(row).messages if row else []
    return messages[0].content if messages and messages[0].role == "system" else None


def _context(fused: Path) -> int:
    """Tokens of the model's context, as far as it is worth its memory."""
    config = json.loads((fused / "config.json").read_text(encoding="utf-8"))
    inside = config.get("text_config") or config
    return min(int(inside.get("max_position_embeddings", CONTEXT_TOKENS)), CONTEXT_TOKENS)
