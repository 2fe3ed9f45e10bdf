"""A checkpoint of training with torch: adapter, optimizer, random numbers, and the place in data and schedule."""

import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from peft import PeftModel

from understudy.errors import AssetError
from understudy.trainers import journal, tensor_files, torch_model


class Checkpoints(journal.Checkpoints):
    """Writes `file` between steps, and restores from it; its metadata is one entry, so equal states are equal bytes."""

    def __init__(
        self, file: Path, model: PeftModel, optimizer: Any, clock: Callable[[], float] = time.monotonic
    ) -> None:
        super().__init__(file, clock)
        self.weights, self.optimizer = torch_model.halves(model), optimizer

    def write(self, iteration: int) -> None:
        """Replace the file by this moment. Raises OSError."""
        tensors = {f"weights.{name}": weight.detach() for name, weight in self.weights.items()}
        for name, weight in self.weights.items():
            state = self.optimizer.state.get(weight, {})
            tensors |= {f"optimizer.{name}.{key}": value for key, value in state.items()}
        tensors |= {f"random.{device}": state for device, state in random_state().items()}
        plain = {name: tensor_files.plain(tensor.cpu().numpy()) for name, tensor in tensors.items()}
        tensor_files.write(self.file, plain, {"iteration": str(iteration)})

    def restore(self) -> int:
        """Restore the checkpoint; its iteration, 0 when there is none. Raises AssetError."""
        if not self.file.exists():
            return 0
        try:
            stored = tensor_files.read(self.file)
            iteration = int(tensor_files.metadata(self.file)["iteration"])
        except (AssetError, KeyError, ValueError) as error:
            raise AssetError(f"{self.file} cannot be read ({error}); delete it to train from the beginning") from None
        tensors = {name: torch.from_numpy(tensor.values.copy()) for name, tensor in stored.items()}
        self._refuse_other_shapes(tensors)
        with torch.no_grad():
            for name, weight in self.weights.items():
                weight.copy_(tensors[f"weights.{name}"])
                self.optimizer.state[weight] = {
                    key: self._placed(key, tensors[f"optimizer.{name}.{key}"], weight)
                    for key in ("step", "exp_avg", "exp_avg_sq")
                    if f"optimizer.{name}.{key}" in tensors
                }
        set_random_state({name.removeprefix("random."): t for name, t in tensors.items() if name.startswith("random.")})
        return iteration

    def _placed(self, key: str, value: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
        """A moment beside its weight; the count of steps where the optimizer keeps it."""
        fused = self.optimizer.param_groups[0].get("fused")
        return value.to(weight.device) if key != "step" or fused else value

    def _refuse_other_shapes(self, tensors: Mapping[str, torch.Tensor]) -> None:
        there = {name.removeprefix("weights."): t for name, t in tensors.items() if name.startswith("weights.")}
        wrong = [
            f"{name} is {_shape(there.get(name))} there, {_shape(self.weights.get(name))} here"
            for name in sorted({*there, *self.weights})
            if _shape(there.get(name)) != _shape(self.weights.get(name))
        ]
        if wrong:
            raise AssetError(
                f"{self.file} belongs to another base or another rank: {'; '.join(wrong[:3])}; delete that folder"
            )


def random_state() -> dict[str, torch.Tensor]:
    """The states of torch's random numbers, by device."""
    states = {"cpu": torch.get_rng_state()}
    if torch.cuda.is_available():
        states["cuda"] = torch.cuda.get_rng_state()
    if torch.backends.mps.is_available():
        states["mps"] = torch.mps.get_rng_state()
    return states


def set_random_state(states: Mapping[str, torch.Tensor]) -> None:
    """Have the random numbers continue from `states`, as far as these devices are here."""
    torch.set_rng_state(states["cpu"])
    if "cuda" in states and torch.cuda.is_available():
        torch.cuda.set_rng_state(states["cuda"])
    if "mps" in states and torch.backends.mps.is_available():
        torch.mps.set_rng_state(states["mps"])


def _shape(weight: torch.Tensor | None) -> str:
    return "missing" if weight is None else "x".join(map(str, reversed(weight.shape)))
