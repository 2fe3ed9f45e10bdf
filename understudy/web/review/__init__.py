"""
The pairs of a channel as a person reviews them: found by search and filters, shown with what was decided.

    shelf rows    every pair with its split and what the next run will make of it (this page)
    server        one page on this machine, and the calls it makes
    page.*        that page

Nothing here writes the dataset: a decision goes to decisions.jsonl, and the next run applies it.
"""

import threading
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal, cast

from pydantic import Field

from understudy import store
from understudy.catalog import CATALOG
from understudy.channel import decisions
from understudy.channel.decisions import Decision, Decisions, Key
from understudy.errors import UnderstudyError
from understudy.records import AssetRef, Pair, Record, Split, SplitPlan
from understudy.text.words import clock
from understudy.web.loopback import rendered

PAGE_ROWS = 25
VIDEO_PREFIX = "yt-"
"""How the ids of talks from YouTube begin; the video's own id follows."""


class Wish(Record):
    """Which pairs to show. Empty means all."""

    search: str = Field(default="", description="words that all stand in question, answer or title")
    verdict: Literal["", "kept", "refused", "decided", "waiting"] = ""
    gate: str = ""
    split: Literal["", "train", "valid", "test", "none"] = ""
    talk: str = Field(default="", description="a document id")
    page: int = Field(default=1, ge=1)


class Order(Record):
    """What the page asks to be decided about one pair."""

    document_id: str
    question_sha256: str
    action: Literal["reject", "restore", "edit"]
    question: str | None = None
    answer: str | None = None
    reason: str | None = None


class Card(Record):
    """One pair as the page shows it."""

    pair_id: str
    document_id: str
    question_sha256: str
    title: str
    question: str
    answer: str
    answer_html: str
    tags: list[str]
    kept: bool
    gate: str | None
    reason: str | None
    split: Split | None
    decided: bool
    waiting: bool = Field(description="True while the dataset does not show the decision yet")
    play: str | None
    at: str | None = Field(description="where in the talk, as m:ss or h:mm:ss")


class Shown(Record):
    """One page of cards."""

    total: int
    page: int
    pages: int
    waiting: int = Field(description="pairs that the next run changes")
    cards: list[Card]


class Menu(Record):
    """What can be filtered by, with the number of pairs."""

    channel: str
    pairs: int
    kept: int
    gone: int = Field(description="decisions whose question is not among the pairs")
    gates: dict[str, int]
    splits: dict[str, int]
    talks: list[tuple[str, str, int]] = Field(description="document id, title, pairs; by title")


@dataclass
class _Row:
    pair: Pair
    """As the dataset has it."""
    shown: Pair
    """As the next run will have it."""
    key: Key
    split: Split | None
    words: str

    @property
    def waiting(self) -> bool:
        """True when the next run will change it."""
        return self.shown is not self.pair and self.shown != self.pair

    def matches(self, wish: Wish, words: Sequence[str]) -> bool:
        if wish.talk and self.pair.document_id != wish.talk:
            return False
        if wish.split and (self.split or "none") != wish.split:
            return False
        # By the gate that refused it once as well: what is restored here does not vanish from under the reader.
        if wish.gate and wish.gate not in (self.pair.gate, self.shown.gate):
            return False
        return all(word in self.words for word in words)


class Shelf:
    """The pairs of the channel in `folder`, read again whenever a run has replaced them."""

    def __init__(self, folder: Path) -> None:
        """Raises UnderstudyError when there is no dataset yet."""
        self.folder = folder
        self._lock = threading.RLock()
        self._rows: dict[Key, _Row] = {}
        self._decisions = Decisions()
        self._read: tuple[AssetRef | None, AssetRef | None, int] | None = None
        with self._lock:
            self._refresh()

    def menu(self) -> Menu:
        """What can be filtered by now."""
        with self._lock:
            self._refresh()
            rows = list(self._rows.values())
            gone = self._decisions.waiting(row.pair for row in rows)
        talks: dict[str, tuple[str, int]] = {}
        for row in rows:
            talks[row.pair.document_id] = (row.pair.title, talks.get(row.pair.document_id, ("", 0))[1] + 1)
        return Menu(
            channel=self.folder.name,
            pairs=len(rows),
            kept=sum(row.shown.kept for row in rows),
            gone=gone,
            gates=dict(Counter(gate for row in rows for gate in {row.pair.gate, row.shown.gate} if gate).most_common()),
            splits=dict(Counter(row.split or "none" for row in rows)),
            talks=sorted(((i, t, n) for i, (t, n) in talks.items()), key=lambda talk: (talk[1].casefold(), talk[0])),
        )

    def show(self, wish: Wish) -> Shown:
        """The page of cards that `wish` asks for; the last one when it asks for one behind it."""
        words = wish.search.casefold().split()
        with self._lock:
            self._refresh()
            matches = [r for r in self._rows.values() if r.matches(wish, words) and self._verdict(r, wish.verdict)]
            pages = max(1, -(-len(matches) // PAGE_ROWS))
            page = min(wish.page, pages)
            cards = [self._card(row) for row in matches[(page - 1) * PAGE_ROWS : page * PAGE_ROWS]]
            return Shown(total=len(matches), page=page, pages=pages, waiting=self._waiting(), cards=cards)

    def decide(self, order: Order) -> Card:
        """Keep what a person decided and show the pair as it will be. Raises UnderstudyError, ValidationError."""
        with self._lock:
            self._refresh()
            row = self._rows.get(Key(order.document_id, order.question_sha256))
            if row is None:
                raise UnderstudyError("this pair is no longer in the dataset, which was made again; reload the page")
            if order.question is not None:
                self._refuse_double(row, order.question)
            now = datetime.now(UTC).isoformat(timespec="seconds")
            decision = Decision(**order.model_dump(), about=row.pair.question, decided_at=now)
            decisions.append(self.folder, decision)
            self._decisions.add(decision)
            self._read = self._on_disk()  # known already, so that one decision does not read everything again
            row.shown = self._decisions.apply([row.pair])[0]
            row.words = _words(row.shown)
            return self._card(row)

    def _refuse_double(self, row: _Row, question: str) -> None:
        """Two pairs of a talk with one question could not be distinguished by the next decision."""
        wanted = decisions.key_of(row.key.document_id, question)
        for key, other in self._rows.items():
            if other is row or key.document_id != wanted.document_id:
                continue
            if wanted in (key, decisions.key_of(key.document_id, other.shown.question)):
                raise UnderstudyError(f"{other.pair.pair_id} asks that already; put this question another way")

    def _verdict(self, row: _Row, verdict: str) -> bool:
        if verdict == "decided":
            return row.key in self._decisions.standing
        if verdict == "waiting":
            return row.waiting
        return not verdict or row.shown.kept == (verdict == "kept")

    def _waiting(self) -> int:
        return sum(row.waiting for row in self._rows.values())

    def _card(self, row: _Row) -> Card:
        pair = row.shown
        fields = pair.model_dump(include=Card.model_fields.keys() & Pair.model_fields.keys())
        return Card(
            **fields | {"title": _title(pair)},
            question_sha256=row.key.question_sha256,
            answer_html=rendered(pair.answer),
            split=row.split,
            decided=row.key in self._decisions.standing,
            waiting=row.waiting,
            play=play_link(pair),
            at=None if pair.start_seconds is None else clock(pair.start_seconds),
        )

    def _refresh(self) -> None:
        """Read the dataset again when a run has replaced it, and the decisions when they have grown elsewhere."""
        read = self._on_disk()
        pairs, split, _ = read
        if read == self._read or (pairs is None and self._rows):  # while a run writes it, the old one stays
            return
        if pairs is None:
            raise UnderstudyError(f"there is no dataset of {self.folder.name!r} to review yet; build it first")
        self._decisions = decisions.load(self.folder)
        self._rows = {row.key: row for row in self._loaded(pairs, split)}
        self._read = read

    def _loaded(self, pairs: AssetRef, split: AssetRef | None) -> Iterator[_Row]:
        home = self.folder.parents[1]
        plan = cast(SplitPlan, store.read_record(home, split, SplitPlan)) if split else None
        splits = {pair_id: split for split, ids in plan.splits.items() for pair_id in ids} if plan else {}
        for pair in cast(Iterator[Pair], store.read_rows(home, pairs, Pair)):
            shown = self._decisions.apply([pair])[0]
            yield _Row(pair, shown, self._decisions.key(pair), splits.get(pair.pair_id), _words(shown))

    def _on_disk(self) -> tuple[AssetRef | None, AssetRef | None, int]:
        """What there is to read now: the pairs, the split, and how long the file of decisions is."""
        paths = (CATALOG[name].path.format(channel=self.folder.name) for name in ("pairs", "split"))
        pairs, split = (store.latest(self.folder.parents[1], path) for path in paths)
        kept = self.folder / decisions.FILE
        return pairs, split, kept.stat().st_size if kept.exists() else 0


def play_link(pair: Pair) -> str | None:
    """The talk at the second the answer starts; None where there is no video or no time."""
    if not pair.document_id.startswith(VIDEO_PREFIX) or pair.start_seconds is None:
        return None
    return f"https://youtu.be/{pair.document_id.removeprefix(VIDEO_PREFIX)}?t={int(pair.start_seconds)}"


def _title(pair: Pair) -> str:
    """Of its document; of a pair over several documents all titles, and what kind of pair it is."""
    titles = " + ".join(dict.fromkeys(source.title for source in pair.sources)) or pair.title
    return titles if pair.kind in ("plain", "grounded") else f"{titles} ({pair.kind})"


def _words(pair: Pair) -> str:
    return f"{pair.question}\n{pair.answer}\n{pair.title}".casefold()
