"""Stage `prepare_base`: the start weights, in a Hugging Face folder."""

from collections.abc import Iterable
from pathlib import Path

from understudy.interfaces import Base, Progress
from understudy.records import BaseCard, Document

VERSION = 1


def prepare(base: Base, talks: Iterable[Document], out: Path, seed: int, progress: Progress) -> BaseCard:
    """Fill `out`. A base that is made of talks sees those of the train side only."""
    return base.prepare([talk.text for talk in talks], out, seed, progress)
