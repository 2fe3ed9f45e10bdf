"""A tiny base, made once for all tests of this folder."""

from collections.abc import Callable
from pathlib import Path

import pytest

from understudy.bases.scratch import ScratchBase
from understudy.records import BaseCard

TINY = ScratchBase.Options(
    vocabulary=300, hidden=64, intermediate=128, layers=1, steps=3, batch_size=2, passage_tokens=32, context=512
)
TALKS = [
    "A candle burns because the heat of the flame melts the wax. The wax climbs the wick, and there it burns.",
    "Ice floats because water grows as it freezes.\n\nSo a weight of ice takes more room than 1234 drops of water.",
]


def make(out: Path, seed: int = 7) -> BaseCard:
    """A tiny base in the new folder `out`."""
    out.mkdir()
    return ScratchBase(TINY).prepare(TALKS, out, seed, lambda done, total, note="": None)


@pytest.fixture(scope="session")
def talks() -> list[str]:
    return TALKS


@pytest.fixture(scope="session")
def make_base() -> Callable[[Path], BaseCard]:
    return make


@pytest.fixture(scope="session")
def tiny_base(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, BaseCard]:
    folder = tmp_path_factory.mktemp("bases") / "tiny"
    return folder, make(folder)
