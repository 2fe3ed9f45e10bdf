"""
A model from the Hugging Face hub, or from a folder in the same layout.

Only what mlx-lm and transformers load is taken: safetensors, config, tokenizer and chat template.
"""

import json
import math
import os
import re
import shutil
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from understudy.bases.known import config_problem, known, problem
from understudy.errors import ConfigError, Transient
from understudy.interfaces import Progress
from understudy.records import BaseCard

WANTED = ["*.json", "*.safetensors", "*.jinja", "*.model", "*.tiktoken", "merges.txt", "vocab.txt"]
UNWANTED = ["*/*", "consolidated*"]
CARD = "README.md"
_REPOSITORY = re.compile(r"^[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*$")


class HubBase:
    """Somebody's instruct model, downloaded once or taken from a folder."""

    VERSION = 3
    needs_talks = False

    class Options(BaseModel):
        """Which model, and which version of it."""

        model_config = ConfigDict(frozen=True, extra="forbid")

        repository: str = Field(min_length=1, description="'owner/name' on the hub, or the path of a folder")
        revision: str | None = Field(default=None, description="commit, tag or branch; the newest when left out")
        allow_untested: bool = Field(default=False, description="also a model that is not on the tested list")

    def __init__(self, options: Options) -> None:
        self.options = options

    def problems(self) -> list[str]:
        """A repository that cannot exist, a folder that holds no model, or a model that is not to be tuned."""
        name, folder = self.options.repository, self._folder()
        if folder is not None:
            return _folder_problems(folder) or self._not_to_tune(folder)
        if name.startswith((".", "/", "~")):
            return [f"base: the folder {name!r} does not exist; give the path of a Hugging Face folder"]
        if not _REPOSITORY.match(name):
            return [
                f"base: {name!r} is neither a folder nor 'owner/name' on the hub, "
                "e.g. mlx-community/Llama-3.2-3B-Instruct-bf16; 'scratch' needs no download"
            ]
        untested = problem(name, self.options.allow_untested)
        return [untested] if untested else []

    def sizes(self) -> Mapping[str, Any] | None:
        """config.json of a folder or of a tested base."""
        folder, base = self._folder(), known(self.options.repository)
        config = _json(folder / "config.json") if folder else base.config if base else {}
        return config or None

    def contents(self) -> None:
        """A repository or a folder is what its name says."""

    def prepare(self, talks: Iterable[str], out: Path, seed: int, progress: Progress) -> BaseCard:
        """Fill `out`. Raises ConfigError when it is no model to tune, Transient when the hub cannot be reached."""
        folder, commit = self._folder(), None
        if folder is None:
            progress(0, 1, f"downloading {self.options.repository}")
            commit = _download(self.options.repository, self.options.revision, out)
        else:
            _link(folder, out)
        progress(1, 1)
        problems = _folder_problems(out) or self._not_to_tune(out)
        if problems:
            raise ConfigError([problem.replace(str(out), self.options.repository) for problem in problems])
        original = _original(folder or out, self.options.repository)
        if folder is None:
            (out / CARD).unlink(missing_ok=True)  # it describes another model than the one to come
        return _card(self.options.repository if folder is None else folder.resolve().name, out, original, commit)

    def _not_to_tune(self, folder: Path) -> list[str]:
        tested = known(self.options.repository) is not None
        problem = config_problem(str(folder), _json(folder / "config.json"), self.options.allow_untested or tested)
        return [problem] if problem else []

    def _folder(self) -> Path | None:
        path = Path(self.options.repository).expanduser()
        return path if path.is_dir() else None


def _folder_problems(folder: Path) -> list[str]:
    """What the folder lacks to be tuned, one sentence each."""
    if not (folder / "config.json").is_file():
        return [f"base: {folder} holds no config.json; give a folder in the Hugging Face layout"]
    problems = []
    if not any(folder.glob("model*.safetensors")):
        problems.append(
            f"base: {folder} holds no model*.safetensors; take a repository that has them, "
            "not one of .bin or .gguf files only"
        )
    if not any((folder / name).is_file() for name in ("tokenizer.json", "tokenizer.model")):
        problems.append(f"base: {folder} holds no tokenizer.json; take a repository with its tokenizer")
    inside = _json(folder / "tokenizer_config.json").get("chat_template")
    if not inside and not (folder / "chat_template.jinja").is_file():
        problems.append(
            f"base: {folder} has no chat template; take an instruct model, whose name often ends in -Instruct or -it"
        )
    return problems


def _link(folder: Path, out: Path) -> None:
    """Take over the wanted files of `folder`: weights linked where the disk allows, the rest copied."""
    for pattern in WANTED:
        for file in sorted(folder.glob(pattern)):
            if not file.is_file() or file.name.startswith("consolidated"):
                continue
            try:
                if file.suffix != ".safetensors":
                    raise OSError("small files are copied: an edit of the original must not reach the copy")
                os.link(file.resolve(), out / file.name)
            except OSError:  # another disk, or one without links
                shutil.copyfile(file, out / file.name)


def _download(repository: str, revision: str | None, out: Path) -> str | None:
    """Fill `out`; the commit, where the downloader's own notes have it. Raises ConfigError, Transient."""
    from huggingface_hub import errors, snapshot_download

    try:
        snapshot_download(
            repository, revision=revision, local_dir=out, allow_patterns=[*WANTED, CARD], ignore_patterns=UNWANTED
        )
    except errors.GatedRepoError:
        way_out = "accept it on the model's page, then run `hf auth login`"
        raise ConfigError([f"base: {repository} is given only to those who accept its licence: {way_out}"]) from None
    except (errors.RepositoryNotFoundError, errors.RevisionNotFoundError, errors.HFValidationError):
        which = f"{repository} at revision {revision!r}" if revision else repository
        way_out = "check the spelling, or run `hf auth login`"
        raise ConfigError([f"base: the hub has no {which}, or it is private; {way_out}"]) from None
    except (errors.HfHubHTTPError, errors.LocalEntryNotFoundError, errors.OfflineModeIsEnabled, OSError) as error:
        raise Transient(
            f"base: {repository} could not be downloaded ({type(error).__name__}); try again with a connection, "
            "or give the path of a folder that holds the model"
        ) from None
    commit = _text(out / ".cache" / "huggingface" / "download" / "config.json.metadata").partition("\n")[0]
    shutil.rmtree(out / ".cache", ignore_errors=True)
    return commit if re.fullmatch("[0-9a-f]{40}", commit) else None


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
