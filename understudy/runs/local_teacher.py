"""
`teacher: auto`: a language model that answers on this machine already, else the teacher without a model.

Ollama, LM Studio, llama.cpp's server and mlx_lm's are looked for on their usual ports of this machine, and a server has
to show by its own answers which of them it is before a talk goes to it. No model that costs money is ever chosen. What
was chosen is noted in the channel once: a later run takes the same, or stops, so that no dataset has two teachers.
"""

import json
import logging
import os
import re
import urllib.request
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, NamedTuple

from understudy import memory
from understudy.channel import home
from understudy.errors import ConfigError
from understudy.sections import PluginSpec
from understudy.workspace import Workspace

SERVERS = "UNDERSTUDY_LOCAL_SERVERS"
"""Environment variable with the addresses to look at, separated by spaces; empty: none is looked at."""
USUAL = "http://127.0.0.1:11434 http://127.0.0.1:1234 http://127.0.0.1:8080"
NOTE = "teacher/auto"
SECONDS = 2.0
LEAST_BILLIONS = 3.0
"""A smaller model writes worse answers than the talk has sentences."""
MEMORY_SHARE = 0.7
FREE = "extractive"
_SIZE = re.compile(r"(?<![\w.])(\d+(?:\.\d+)?)\s*(b|m)(?![a-z])", re.IGNORECASE)
_NO_CHAT = re.compile(r"embed|\bbert\b|rerank|whisper|clip", re.IGNORECASE)
log = logging.getLogger("understudy.teacher")


class LocalModel(NamedTuple):
    """A model that a server on this machine offers."""

    program: str
    address: str
    name: str
    billions: float | None
    """Parameters, as the server or the name says; None where neither does."""
    size_bytes: int | None = None

    @property
    def spec(self) -> PluginSpec:
        """The teacher that asks it."""
        return PluginSpec.model_validate({"use": "openai", "model": self.name, "base_url": f"{self.address}/v1"})


def resolved(workspace: Workspace) -> Workspace:
    """The workspace with a teacher in place of `auto`. Raises ConfigError when the one that was chosen is away."""
    if workspace.config.teacher.use != "auto":
        return workspace
    spec = _chosen(workspace)
    return workspace.model_copy(update={"config": workspace.config.model_copy(update={"teacher": spec})})


def chosen(workspace: Workspace) -> Workspace:
    """As `resolved`, at the start of a run: the choice is noted, and the log says what it is."""
    if workspace.config.teacher.use != "auto":
        return workspace
    workspace = resolved(workspace)
    spec = workspace.config.teacher
    home.mark(workspace.home)
    if workspace.ledger.note(NOTE) is None:
        workspace.ledger.set_note(NOTE, spec.model_dump_json())
    if spec.use == FREE:
        log.warning(
            "no language model answers on this machine (Ollama, LM Studio, llama.cpp, mlx_lm): the free teacher writes "
            "a first draft. It quotes the talks, and asks only what one of their sentences answers outright"
        )
    else:
        model, address = spec.options["model"], spec.options["base_url"]
        log.info("teacher: %s on this machine (%s), free of charge; --teacher takes another", model, address)
    return workspace


def found() -> list[LocalModel]:
    """Every chat model that a known server on this machine offers, the one to take first."""
    addresses = os.environ.get(SERVERS, USUAL).split()
    models = [model for address in addresses for model in _models(address.rstrip("/"))]
    limit = MEMORY_SHARE * memory.physical_bytes()
    fitting = [
        model
        for model in models
        if not _NO_CHAT.search(model.name)
        and (model.billions or 0) >= LEAST_BILLIONS
        and (model.size_bytes or (model.billions or 0) * 0.6e9) <= limit
    ]
    return sorted(fitting, key=lambda model: (-(model.billions or 0), model.address, model.name))


def _chosen(workspace: Workspace) -> PluginSpec:
    free = PluginSpec.model_validate(workspace.config.teacher.options | {"use": FREE})
    noted = workspace.ledger.note(NOTE)
    if noted is None:
        # A channel that has talks already was begun when there was no other teacher that costs nothing.
        models = found() if not workspace.ledger.counts() else []
        return models[0].spec if models else free
    spec = PluginSpec.model_validate_json(noted)
    if spec.use == FREE:
        return free
    address, name = str(spec.options["base_url"]).removesuffix("/v1"), spec.options["model"]
    if any(model.name == name for model in _models(address)):
        return spec
    raise ConfigError(
        [
            f"teacher: {name} at {address} answers this channel's questions, and no server there offers it now; start "
            "it, or choose another teacher for all talks with --teacher"
        ]
    )


def _models(address: str) -> Iterator[LocalModel]:
    """What the server at `address` offers, if it is one of the known ones."""
    tags = _get(address, "/api/tags")
    if tags and isinstance(tags.get("models"), list) and _get(address, "/api/version"):
        for row in _rows(tags, "models"):
            details = row.get("details") if isinstance(row.get("details"), dict) else {}
            size = str((details or {}).get("parameter_size") or row.get("name"))
            yield _model("Ollama", address, row.get("name"), size, row.get("size"))
        return
    listed = _get(address, "/api/v0/models")
    if listed:
        for row in _rows(listed, "data"):
            if row.get("type") in ("llm", "vlm"):
                yield _model("LM Studio", address, row.get("id"), str(row.get("id")))
        return
    listed = _get(address, "/v1/models")
    if listed and "default_generation_settings" in (_get(address, "/props") or {}):
        for row in _rows(listed, "data"):
            meta = row.get("meta") if isinstance(row.get("meta"), dict) else {}
            parameters = (meta or {}).get("n_params")
            size = f"{parameters / 1e9:.1f}b" if isinstance(parameters, int) else str(row.get("id"))
            yield _model("llama.cpp", address, row.get("id"), size, (meta or {}).get("size"))
    elif listed and (_get(address, "/health") or {}).get("status") == "ok" and listed.get("object") == "list":
        for row in _rows(listed, "data"):
            if set(row) == {"id", "object", "created"}:  # so does mlx_lm's server answer, and no other
                yield _model("mlx_lm", address, row.get("id"), str(row.get("id")))


def _model(program: str, address: str, name: Any, size: str, size_bytes: Any = None) -> LocalModel:
    match = _SIZE.search(size) or _SIZE.search(str(name))
    billions = float(match[1]) / (1 if match[2].lower() == "b" else 1000) if match else None
    return LocalModel(program, address, str(name), billions, size_bytes if isinstance(size_bytes, int) else None)


def _rows(fields: Mapping[str, Any], name: str) -> Iterable[dict[str, Any]]:
    rows = fields.get(name)
    return [row for row in rows if isinstance(row, dict)] if isinstance(rows, list) else []


def _get(address: str, path: str) -> dict[str, Any] | None:
    """The JSON object at a path of a server on this machine; None when there is none."""
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))  # a proxy is no part of this machine
    try:
        with opener.open(f"{address}{path}", timeout=SECONDS) as reply:
            fields = json.loads(reply.read(1 << 20))
    except (OSError, ValueError):
        return None
    return fields if isinstance(fields, dict) else None
