"""Which tested base to take instead of one that is too weak: the largest that this machine can tune."""

import platform
import shutil
from typing import NamedTuple

from understudy import memory
from understudy.bases.known import KNOWN, KnownBase

RANK, ROW_TOKENS = 16, 1024
SHARE_OF_MEMORY = 0.75
"""Of all memory: what is free at the moment would give another answer every time."""
MOST_PARAMETERS = {True: 5e9, False: 8e8}
"""With a GPU, and on a CPU, where a larger one takes days."""
FREE = ("Apache-2.0", "MIT")
"""Licences whose models can be downloaded without asking for access."""


class Suggestion(NamedTuple):
    """A base to take, and what it is."""

    repository: str
    parameters: int
    bytes: int
    """What its training takes here, at most."""

    @property
    def text(self) -> str:
        """E.g. 'Qwen/Qwen3-0.6B (0.6 billion parameters; training it takes up to 6 GB)'."""
        size = (
            f"{self.parameters / 1e9:.1f} billion" if self.parameters >= 1e8 else f"{self.parameters / 1e6:.0f} million"
        )
        return f"{self.repository} ({size} parameters; training it takes up to {self.bytes / 1e9:.0f} GB)"


def better_than(parameters: int) -> Suggestion | None:
    """The largest tested base that fits this machine and is larger than one of `parameters`; None when none does."""
    direct_first = sorted(KNOWN, key=lambda base: base.thinking != "none")  # of two of one size
    fitting = [one for base in direct_first if (one := _fits(base)) and one.parameters > 1.5 * parameters]
    return max(fitting, key=lambda one: one.parameters, default=None)


def _fits(base: KnownBase) -> Suggestion | None:
    gpu = _has_gpu()
    model, number_bytes = memory.model_of(base.config), 2 if gpu else 4
    if base.thinking == "always" or base.licence not in FREE or model.parameters > MOST_PARAMETERS[gpu]:
        return None
    shape = memory.Shape(
        model, RANK, model.layers, ROW_TOKENS, ROW_TOKENS, 8 * number_bytes, number_bytes, checkpointing=True
    )
    limit = memory.Limit(int(SHARE_OF_MEMORY * memory.physical_bytes()), "three quarters of its memory")
    if not memory.fits(shape, limit):
        return None
    return Suggestion(base.repository, model.parameters, memory.predicted(shape) + memory.RESERVE_BYTES)


def _has_gpu() -> bool:
    return (platform.system(), platform.machine()) == ("Darwin", "arm64") or shutil.which("nvidia-smi") is not None
