"""
What this machine trains with, decided from what is installed and from the flags of its processor and system.

Nothing is timed, so that a machine under load decides as an idle one does. No backend is imported.
"""

import platform
import shutil
import sys
from collections.abc import Iterable
from importlib import metadata
from importlib.util import find_spec
from pathlib import Path
from typing import NamedTuple

MLX = ("mlx", "mlx_lm")
TORCH = ("torch", "transformers", "peft", "accelerate")
BFLOAT16 = ("avx512_bf16", "amx_bf16")
"""Flags of processors that multiply matrices of bfloat16 themselves."""


class Choice(NamedTuple):
    """A trainer and why it is taken."""

    trainer: str
    reason: str


def choose() -> Choice:
    """The trainer of this machine: MLX on Apple silicon, torch on a card, else by the processor's flags."""
    mlx, torch = not missing(MLX), not missing(TORCH)
    if mlx and apple_silicon():
        return Choice("mlx_lora", "this is Apple silicon, for which mlx is made")
    if torch and has_card():
        return Choice("peft_lora", "there is an NVIDIA card, and torch is installed")
    if torch and (flag := next((flag for flag in BFLOAT16 if flag in flags()), None)):
        return Choice("peft_lora", f"this processor multiplies bfloat16 itself ({flag}), and torch is installed")
    if mlx:
        why = "torch is not installed" if not torch else "torch would gain nothing on this processor"
        return Choice("mlx_lora", f"mlx is installed, and {why}")
    return Choice("peft_lora", "torch is installed, and mlx is not" if torch else "mlx is not installed here")


def missing(packages: Iterable[str]) -> list[str]:
    """Those of `packages` that are not installed."""
    return [name for name in packages if find_spec(name) is None]


def torch_versions() -> list[str]:
    """Every version of torch that this Python would find; more than one is a broken installation."""
    return sorted({one.version for one in metadata.distributions(name="torch")})


def flags() -> frozenset[str]:
    """What the processor says that it can do; empty where the system does not pass that on."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return frozenset()
    return frozenset(next((line.partition(":")[2].split() for line in lines if line.startswith("flags")), ()))


def multiplies_bfloat16() -> bool:
    """Whether bfloat16 is faster than float32 on this processor."""
    return not flags().isdisjoint(BFLOAT16)


def has_card() -> bool:
    """Whether there is an NVIDIA card with its driver."""
    return shutil.which("nvidia-smi") is not None or Path("/proc/driver/nvidia/version").exists()


def apple_silicon() -> bool:
    """Whether this is a Mac with a GPU that mlx knows."""
    return sys.platform == "darwin" and platform.machine() == "arm64"
