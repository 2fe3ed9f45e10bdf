"""
A model from the Hugging Face hub, or from a folder in the same layout.

Only what mlx-lm and transformers load is taken: safetensors, config, tokenizer and chat template.
"""

import json
import logging
import math
import os
import re
import shutil
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, field_validator

from understudy.bases import hub_download
from understudy.bases.hub_download import CARD
from understudy.bases.known import another_name, config_problem, known, problem
from understudy.errors import ConfigError
from understudy.interfaces import Progress
from understudy.records import BaseCard
from understudy.text import tokenizer

HUB = re.compile(r"(?:https?://)?(?:www\.)?(?:huggingface\.co|hf\.co)/([^/\s]+/[^/\s?#]+).*")
INDEX, SIDECAR, TEMPLATE = "model.safetensors.index.json", "chat_template.json", "chat_template.jinja"
NOT_READ = {"bitsandbytes": "bitsandbytes", "gptq": "GPTQ", "awq": "AWQ"}
"""Formats of quantized weights that MLX does not tune."""
_REPOSITORY = re.compile(r"^[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*$")
log = logging.getLogger("understudy")


class HubBase:
    """Somebody's instruct model, downloaded once or taken from a folder."""

    VERSION = 4
    needs_talks = False

    class Options(BaseModel):
        """Which model, and which version of it."""

        model_config = ConfigDict(frozen=True, extra="forbid")

        repository: str = Field(min_length=1, description="'owner/name' on the hub, or the path of a folder")
        revision: str | None = Field(default=None, description="commit, tag or branch; the newest when left out")
        allow_untested: bool = Field(default=False, description="also a model that is not on the tested list")

        @field_validator("repository")
        @classmethod
        def _without_address(cls, name: str) -> str:
            address = HUB.fullmatch(name.strip())
            return address[1] if address else name

    def __init__(self, options: Options) -> None:
        self.options = options

    def problems(self) -> list[str]:
        """A repository that cannot exist, a folder that holds no model, or a model that is not to be tuned."""
        name, folder = self.options.repository, self.folder()
        if folder is not None:
            return _folder_problems(folder) or self._not_to_tune(folder)
        if name.startswith((".", "/", "~")):
            return [f"base: the folder {name!r} does not exist; give the path of a Hugging Face folder"]
        if instead := another_name(name):
            return [instead]
        if not _REPOSITORY.match(name):
            return [
                f"base: {name!r} is neither a folder nor 'owner/name' on the hub, "
                "e.g. mlx-community/Llama-3.2-3B-Instruct-bf16; 'scratch' needs no download"
            ]
        untested = problem(name, self.options.allow_untested)
        return [untested] if untested else []

    def sizes(self) -> Mapping[str, Any] | None:
        """config.json of a folder or of a tested base."""
        folder, base = self.folder(), known(self.options.repository)
        config = _json(folder / "config.json") if folder else base.config if base else {}
        return config or None

    def contents(self) -> None:
        """A repository or a folder is what its name says."""

    def prepare(self, talks: Iterable[str], out: Path, seed: int, progress: Progress) -> BaseCard:
        """Fill `out`. Raises ConfigError when it is no model to tune, Transient when the hub cannot be reached."""
        folder, commit = self.folder(), None
        if folder is None:
            commit = hub_download.download(
                self.options.repository, self.options.revision, out, lambda: self._require(out, False), progress
            )
        else:
            progress(0, 1, f"taking over {folder}")
            _link(folder, out)
        progress(1, 1)
        self._require(out, True)
        _take_sidecar(out)
        original = _original(folder or out, self.options.repository)
        if folder is None:
            (out / CARD).unlink(missing_ok=True)  # it describes another model than the one to come
        card = _card(self.options.repository if folder is None else folder.resolve().name, out, original, commit)
        try:
            difference = tokenizer.mend(out)
        except ValueError as error:
            raise ConfigError([f"base: {error}; copy or download it again"]) from None
        if difference:
            log.warning("%s: %s; the file is used, here and in the tuned model", card.name, difference)
            card = card.model_copy(update={"notes": card.notes | {"tokenizer": f"{difference}; the file is used"}})
        return card

    def _require(self, folder: Path, weights: bool) -> None:
        """Raise ConfigError when what is in the folder is no model to tune."""
        problems = _folder_problems(folder, weights) or self._not_to_tune(folder)
        if problems:
            raise ConfigError([problem.replace(str(folder), self.options.repository) for problem in problems])

    def _not_to_tune(self, folder: Path) -> list[str]:
        tested = known(self.options.repository) is not None
        problem = config_problem(str(folder), _json(folder / "config.json"), self.options.allow_untested or tested)
        return [problem] if problem else []

    def folder(self) -> Path | None:
        """The folder, where one is named; in the hub's own cache that of the newest version there."""
        path = Path(self.options.repository).expanduser()
        if not path.is_dir():
            return None
        versions = sorted((path / "snapshots").glob("*/config.json"), key=lambda file: file.stat().st_mtime)
        return versions[-1].parent if versions else path


def _folder_problems(folder: Path, weights: bool = True) -> list[str]:
    """What the folder lacks to be tuned, one sentence each; without its `weights` as long as these are not there."""
    if not (folder / "config.json").is_file():
        files = sorted(file.name for file in folder.glob("*.gguf"))
        instead = f"give the file's own path: {folder / files[0]}" if files else "give one in the Hugging Face layout"
        return [f"base: {folder} holds no config.json; {instead}"]
    problems = _weight_problems(folder) if weights else []
    method = (_json(folder / "config.json").get("quantization_config") or {}).get("quant_method")
    if method in NOT_READ:
        return [
            f"base: {folder} is quantized with {NOT_READ[method]}, which MLX does not tune; take the repository in "
            "bf16 it was made of, or a 4-bit one of mlx-community"
        ]
    if not any((folder / name).is_file() for name in ("tokenizer.json", "tokenizer.model")):
        problems.append(f"base: {folder} holds no tokenizer.json; take a repository with its tokenizer")
    inside = [_json(folder / name).get("chat_template") for name in ("tokenizer_config.json", SIDECAR)]
    if not any(inside) and not (folder / TEMPLATE).is_file():
        problems.append(
            f"base: {folder} has no chat template; take an instruct model, whose name often ends in -Instruct or -it"
        )
    return problems


def _weight_problems(folder: Path) -> list[str]:
    """Every file of the index has to be there; without an index, one file of weights."""
    named = _json(folder / INDEX).get("weight_map")
    if (folder / INDEX).is_file() and not isinstance(named, dict):
        return [f"base: {folder / INDEX} cannot be read; copy it again"]
    names = sorted(set(named.values())) if isinstance(named, dict) else []
    if lost := hub_download.missing_shards(folder, names):
        rest = f" and {len(lost) - 3} more" if len(lost) > 3 else ""
        return [f"base: {folder} lacks {', '.join(lost[:3])}{rest}, which its index names; copy what is missing there"]
    if not names and not any(folder.glob("model*.safetensors")):
        return [
            f"base: {folder} holds no model*.safetensors; take a repository that has them, "
            "not one of .bin or .gguf files only"
        ]
    return []


def _take_sidecar(out: Path) -> None:
    """Have a template that lies in chat_template.json where transformers and the exporters look for it."""
    template = _json(out / SIDECAR).get("chat_template")
    inside = _json(out / "tokenizer_config.json").get("chat_template")
    if isinstance(template, str) and not inside and not (out / TEMPLATE).is_file():
        (out / TEMPLATE).write_text(template, encoding="utf-8")


def _link(folder: Path, out: Path) -> None:
    """Take over the wanted files of `folder`: weights linked where the disk allows, the rest copied."""
    for file in sorted(folder.iterdir()):
        if not file.is_file() or not hub_download.wanted(file.name):
            continue
        (out / file.name).unlink(missing_ok=True)  # of a run that was killed
        try:
            if file.suffix != ".safetensors":
                raise OSError("small files are copied: an edit of the original must not reach the copy")
            os.link(file.resolve(), out / file.name)
        except OSError:  # another disk, or one without links
            shutil.copyfile(file, out / file.name)


def _original(folder: Path, repository: str) -> str | None:
    """What a quantized model was quantized from, by its model card or else its config: a repository or a folder."""
    import yaml

    front = re.match(r"---\n(.*?)\n---", _text(folder / CARD), re.DOTALL)
    try:
        meta = yaml.safe_load(front[1]) if front else {}
    except yaml.YAMLError:
        meta = {}
    meta = meta if isinstance(meta, dict) else {}
    model = meta.get("base_model") if meta.get("base_model_relation", "quantized") == "quantized" else None
    model = model[0] if isinstance(model, list) and len(model) == 1 else model  # of several it is a merge
    names = [model, _json(folder / "config.json").get("_name_or_path")]
    return next((name for name in names if isinstance(name, str) and name != repository and _is_model(name)), None)


def _is_model(name: str) -> bool:
    return bool(_REPOSITORY.match(name)) or (Path(name).is_absolute() and Path(name).is_dir())


def _text(file: Path) -> str:
    try:
        return file.read_text(encoding="utf-8").replace("\r\n", "\n")
    except (OSError, ValueError):
        return ""


def _card(name: str, folder: Path, original: str | None, commit: str | None) -> BaseCard:
    config = _json(folder / "config.json")
    quantization, base = config.get("quantization"), known(name)
    notes: dict[str, float | int | str] = {"original": original} if quantization and original else {}
    notes |= {"revision": commit} if commit else {}
    return BaseCard(
        name=name,
        architecture=str(config.get("model_type", "unknown")),
        parameters=sum(_parameters(file, quantization or {}) for file in folder.glob("model*.safetensors")),
        quantized=quantization is not None,
        notes=notes | ({"licence": base.licence, "thinking": base.thinking} if base else {}),
    )


def _parameters(file: Path, quantization: dict[str, Any]) -> int:
    """Weights in one file; several quantized ones are packed into each 32-bit word, scales are not counted."""
    from safetensors import safe_open

    total = 0
    with safe_open(file, framework="numpy") as weights:
        names = set(weights.keys())
        for name in names:
            stem, _, kind = name.rpartition(".")
            is_packed = f"{stem}.scales" in names
            if is_packed and kind in ("scales", "biases"):
                continue
            size = math.prod(weights.get_slice(name).get_shape())
            own = quantization.get(stem)
            bits = (own if isinstance(own, dict) else quantization).get("bits", 4)
            total += size * 32 // bits if is_packed and kind == "weight" else size
    return total


def _json(file: Path) -> dict[str, Any]:
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return content if isinstance(content, dict) else {}
