"""The pairs of each talk as one markdown page to read, written piece by piece however many there are."""

from collections.abc import Iterator, Sequence

from understudy.dataset.formats import cell, link, linked, watch
from understudy.records import Pair, SplitPlan
from understudy.text.table import plain
from understudy.text.words import clock, counted

FENCE = "```"


def pieces(pairs: Sequence[Pair], plan: SplitPlan) -> Iterator[str]:
    """The page in pieces: talk by talk each kept pair with its answer as it is, and the refused ones folded."""
    kept = sum(pair.kept for pair in pairs)
    talks: dict[str, list[Pair]] = {}
    for pair in pairs:
        talks.setdefault(pair.document_id, []).append(pair)
    split_of: dict[str, str] = {pair_id: split for split, names in plan.splits.items() for pair_id in names}
    split_of |= {drop.pair_id: f"in no split: {plain(drop.reason)}" for drop in plan.dropped}
    yield f"# Pairs\n\n{kept} kept and {len(pairs) - kept} refused, of {counted(len(talks), 'talk')}.\n"
    for document_id, of_talk in talks.items():
        refused = [pair for pair in of_talk if not pair.kept]
        yield f"\n## {linked(of_talk[0].title or document_id, watch(document_id), 200)}\n"
        for pair in of_talk:
            if pair.kept:
                yield _kept(pair, split_of.get(pair.pair_id))
        if refused:
            yield f"\n<details><summary>{len(refused)} refused</summary>\n\n"
            yield from (f"- {plain(pair.question)} ({_why(pair)})\n" for pair in refused)
            yield "\n</details>\n"


def _kept(pair: Pair, split: str | None) -> str:
    at = "" if pair.start_seconds is None else linked(clock(pair.start_seconds), link(pair))
    notes = [note for note in (at, split or "", *(cell(tag) for tag in pair.tags)) if note]
    below = f"*{' · '.join(notes)}*\n\n" if notes else ""
    # A code block that an answer leaves open would take in all that follows.
    answer = pair.answer.strip() + (f"\n{FENCE}" if pair.answer.count(FENCE) % 2 else "")
    return f"\n### {pair.question_number}. {plain(pair.question)}\n\n{below}{answer}\n"


def _why(pair: Pair) -> str:
    return f"{plain(pair.gate or 'unknown')}: {plain(pair.reason or 'no reason given')}"
