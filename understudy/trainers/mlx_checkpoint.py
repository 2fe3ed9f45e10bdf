"""
A checkpoint of training: everything that must come back for the losses after it to be the same.

One file, replaced atomically, holds the adapter, the optimizer with its count of steps (and so the
place in the schedule), the random numbers' state and the iteration, which is the place in the data.
"""

import json
import os
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import mlx.core as mx
from mlx import nn, optimizers
from mlx.utils import tree_flatten, tree_unflatten

from understudy.errors import AssetError
from understudy.trainers import journal


class Checkpoints(journal.Checkpoints):
    """Writes adapter, optimizer, random numbers and place in the data between steps, and restores them."""

    def __init__(
        self,
        file: Path,
        model: nn.Module,
        optimizer: optimizers.Optimizer,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        super().__init__(file, clock)
        self.model, self.optimizer = model, optimizer

    def write(self, iteration: int) -> None:
        """Replace the file by this moment. Raises OSError."""
        arrays = {f"weights.{name}": weight for name, weight in trainable(self.model).items()}
        arrays |= {f"optimizer.{name}": value for name, value in tree_flatten(self.optimizer.state)}
        write(self.file, arrays, {"iteration": str(iteration), "random": json.dumps(random_state())})

    def restore(self) -> int:
        """Restore the checkpoint; its iteration, 0 when there is none. Raises AssetError."""
        if not self.file.exists():
            return 0
        try:
            arrays, metadata = read(self.file)
            iteration, random = int(metadata["iteration"]), json.loads(metadata["random"])
        except (RuntimeError, ValueError, KeyError) as error:
            raise AssetError(f"{self.file} cannot be read ({error}); delete it to train from the beginning") from None
        weights = _part(arrays, "weights.")
        if wrong := differing(weights, trainable(self.model)):
            raise AssetError(
                f"{self.file} belongs to another base or another rank: {'; '.join(wrong[:3])}; delete that folder"
            )
        self.model.load_weights(list(weights.items()), strict=False)
        self.optimizer.state = tree_unflatten(list(_part(arrays, "optimizer.").items()))
        set_random_state(random)
        return iteration


def trainable(model: nn.Module) -> dict[str, mx.array]:
    """The weights that are trained, by name."""
    return dict(tree_flatten(model.trainable_parameters()))


def differing(theirs: dict[str, mx.array], ours: dict[str, mx.array]) -> list[str]:
    """Weights that are missing, unknown or of another shape, one phrase each."""
    return [
        f"{name} is {_shape(theirs.get(name))} there, {_shape(ours.get(name))} here"
        for name in sorted({*theirs, *ours})
        if _shape(theirs.get(name)) != _shape(ours.get(name))
    ]


def random_state() -> list[int]:
    """The two halves of the state of mlx's random numbers."""
    state: Any = mx.random.state  # mlx's stub says object
    return list(state[0].tolist())


def set_random_state(halves: Sequence[int]) -> None:
    """Have the random numbers continue from `halves`."""
    mx.random.seed((halves[0] << 32) | halves[1])  # assigning mx.random.state changes nothing in mlx 0.32.4


def read(file: Path) -> tuple[dict[str, mx.array], dict[str, str]]:
    """The arrays and the metadata of a safetensors file; no array is read before it is used."""
    content: Any = mx.load(str(file), return_metadata=True)  # mlx's stub says a union of every format
    arrays, metadata = content
    return arrays, metadata


def write(file: Path, arrays: dict[str, mx.array], metadata: dict[str, str] | None = None) -> None:
    """Replace `file` in one step; a reader sees the old weights or the new ones. Raises OSError."""
    file.parent.mkdir(parents=True, exist_ok=True)
    temporary = file.with_name(f".{file.name}.tmp")
    mx.eval(arrays)
    try:
        with temporary.open("wb") as opened:  # mlx given a path hides the reason when the disk is full
            # mlx writes in the order of a hash table, which is that of insertion: sorted, equal weights are equal bytes
            mx.save_safetensors(opened, dict(sorted(arrays.items())), metadata=metadata)
            opened.flush()
            os.fsync(opened.fileno())
        os.replace(temporary, file)
    except OSError:
        temporary.unlink(missing_ok=True)  # half a file is of no use, its space is
        raise


def _part(arrays: dict[str, Any], prefix: str) -> dict[str, Any]:
    return {name.removeprefix(prefix): value for name, value in arrays.items() if name.startswith(prefix)}


def _shape(weight: mx.array | None) -> str:
    return "missing" if weight is None else "x".join(map(str, weight.shape))
