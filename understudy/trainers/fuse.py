"""
Base and adapter as one Hugging Face folder in full precision, tokenizer and template copied byte for byte.

Three ways, depending on the base: the gain added to a copy of its files; the same after its quantized files were
dequantized tensor by tensor; or, where mlx gives the weights names that `merge.PARTED` does not know, the whole model
through mlx-lm, which takes as much memory as the model and writes mlx's names.
"""

import json
import logging
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from understudy import worker
from understudy.errors import AssetError
from understudy.interfaces import Progress
from understudy.records import FusedCard, Record
from understudy.trainers import merge
from understudy.trainers.plan import base_digest

LARGER = 5
"""Times the size that a base of 4-bit weights has in full precision, with a margin."""
log = logging.getLogger("understudy")


class FuseJob(Record):
    """What the worker does: `base` and `adapter` through mlx-lm, or, without an adapter, `base` dequantized."""

    base: Path
    adapter: Path | None
    out: Path


def fuse(base: Path, adapter: Path, out: Path, progress: Progress) -> FusedCard:
    """Fill the empty folder `out`. Raises AssetError when the adapter is damaged or not this base's, or space lacks."""
    _refuse_another_base(base, adapter)
    weights = original(base)
    config = json.loads((weights / "config.json").read_text(encoding="utf-8"))
    # gpt-oss has its experts alone in 4 bits, and they stay as they are.
    experts_only = (config.get("quantization_config") or {}).get("quant_method") == "mxfp4"
    quantized = "quantization" in config or ("quantization_config" in config and not experts_only)
    _require_space(weights, out, LARGER if quantized else 1)
    gains = merge.renamed(weights, merge.deltas(adapter))
    if quantized:
        _in_worker(weights, None, out, progress)
        merged = merge.add(out, gains, progress)
    elif merge.missing(weights, gains):
        merged = _in_worker(weights, adapter, out, progress)
    else:
        merged = merge.merge(weights, gains, out, progress)
    _copy_companions(base, weights, out)
    return FusedCard(
        architecture=config["model_type"],
        parameters=merged.parameters,
        changed_share=merged.changed / merged.parameters,
        dequantized=quantized,
    )


def original(base: Path) -> Path:
    """The folder the gain is added to: the full-precision original of a quantized base, where it is here, else `base`.

    `prepare_base` notes what the base was made of: a folder, or a repository, which is looked for beside the base.
    """
    card = json.loads((base / "card.json").read_text(encoding="utf-8")) if (base / "card.json").exists() else {}
    name = str(card.get("notes", {}).get("original", ""))
    if not name:
        return base
    folder = next((place for place in _places(name, base) if _same_shape(place, base)), None)
    if folder is None:
        log.info("%s was quantized from %s, which is not here: its weights are dequantized", base, name)
    return folder or base


def _places(name: str, base: Path) -> Iterator[Path]:
    """Where a model of that name may be: its path, or a base that was prepared from that repository."""
    if Path(name).expanduser().is_dir():
        yield Path(name).expanduser()
    for file in sorted(base.parent.glob("*/card.json")):
        card = json.loads(file.read_text(encoding="utf-8"))
        if card.get("name") == name and not card.get("quantized"):
            yield file.parent


def _same_shape(folder: Path, base: Path) -> bool:
    """Whether the model in `folder` is in full precision, whole, and of the architecture and sizes of `base`."""
    try:
        theirs, ours = (json.loads((f / "config.json").read_text(encoding="utf-8")) for f in (folder, base))
        merge.shards(folder)
    except (OSError, ValueError, AssetError):
        return False
    sizes = ("model_type", "hidden_size", "intermediate_size", "num_hidden_layers", "vocab_size")
    is_packed = "quantization" in theirs or "quantization_config" in theirs
    return not is_packed and all(theirs.get(size) == ours.get(size) for size in sizes)


def _copy_companions(base: Path, weights: Path, out: Path) -> None:
    """Tokenizer and template as training had them; config and index, unless the worker wrote them, as the weights'."""
    of_weights = ("config.json", merge.INDEX)
    for folder, theirs in ((weights, True), (base, False)):
        for file in merge.companions(folder):
            if (file.name in of_weights) is theirs and not (theirs and (out / file.name).exists()):
                shutil.copyfile(file, out / file.name)


def _in_worker(base: Path, adapter: Path | None, out: Path, progress: Progress) -> merge.Merged:
    """Let the worker fill `out`: the base with the adapter, or, without one, the base dequantized."""
    job = FuseJob(base=base, adapter=adapter, out=out)
    merged = worker.call("understudy.trainers.mlx_fuse_worker", job, merge.Merged, progress)
    (out / "README.md").unlink(missing_ok=True)  # mlx-lm's own card, which says nothing of this model
    return merged


def _refuse_another_base(base: Path, adapter: Path) -> None:
    """Raise AssetError when the adapter was trained on other weights than `base` holds."""
    file = adapter / "adapter_config.json"
    try:
        settings: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
        kind = settings.get("fine_tune_type", "lora")
        float(settings["lora_parameters"]["scale"])
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise AssetError(f"{file} cannot be read as an adapter's settings ({error!r}); train again") from None
    if kind != "lora":
        raise AssetError(f"{file}: fine_tune_type is {kind!r}, and only 'lora' can be merged; train plain LoRA")
    trained_on = settings.get("base")
    if trained_on and trained_on != base_digest(base):
        raise AssetError(
            f"the adapter in {adapter} was trained on another base than {base}; merge it into its own, or train again"
        )


def _require_space(weights: Path, out: Path, times: int) -> None:
    needed = times * sum(shard.stat().st_size for shard in merge.shards(weights))
    free = shutil.disk_usage(out).free
    if needed > free:
        raise AssetError(
            f"{out}: {needed / 1e9:.1f} GB needed for the merged model, {free / 1e9:.1f} GB free; "
            "make room or set another home"
        )
