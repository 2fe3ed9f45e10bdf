"""A dataset's description as tables."""

from collections.abc import Sequence

from understudy.dataset.describe import Description, Formatting, Refusals, TalkDescription
from understudy.dataset.formats import cell, linked, table, watch
from understudy.dataset.pictures import amount

TALKS_SHOWN = 50
SPANS_SHOWN = 4


def markdown(found: Description) -> str:
    """The description as tables, for a card or an artifact."""
    cost = "" if found.usd is None else f" They cost ${found.usd:.2f}"
    each = "" if found.usd_per_kept is None else f", ${found.usd_per_kept:.4f} per kept pair"
    leakage = found.leakage
    parts = [
        f"**{len(found.talks)} talks**, {found.pairs} pairs, **{found.kept} kept**.{cost}{each}{'.' if cost else ''}",
        table(["split", "talks", "pairs"], [(split, found.split_talks[split], n) for split, n in found.splits.items()]),
        f"Leakage: {leakage.rows_sharing_a_document} held-out rows share a talk with train, "
        f"{leakage.near_duplicate_questions} have a near-duplicate there."
        + (f" **{leakage.explained}.**" if leakage.explained else ""),
        _lengths(found),
        _shares(found.formatting),
        _tags(found),
        _refused(found.refusals),
        _talk_table(found.talks),
    ]
    return "\n\n".join(part for part in parts if part)


def _lengths(found: Description) -> str:
    named = {
        "words per question": found.question_words,
        "words per answer": found.answer_words,
        "tokens per answer": found.answer_tokens,
    }
    rows = [(name, s.lowest, s.p10, s.median, s.p90, s.highest, f"{s.mean:.0f}") for name, s in named.items() if s]
    return table(["length", "lowest", "10 %", "median", "90 %", "highest", "mean"], rows) if rows else ""


def _shares(shares: Formatting | None) -> str:
    if shares is None:
        return ""
    named = {
        "with bold": shares.bold,
        "with a list": shares.lists,
        "with two or more paragraphs": shares.paragraphs,
        "with a heading": shares.headings,
        "with broken markdown": shares.broken,
    }
    return table([f"of {shares.n} answers", "share"], [(name, f"{100 * value:.0f} %") for name, value in named.items()])


def _tags(found: Description) -> str:
    if not found.tags:
        return ""
    rest = found.distinct_tags - len(found.tags)
    more = (f", and {rest} more" if rest else "") + (f"; {found.untagged} pairs have none" if found.untagged else "")
    return "Tags: " + ", ".join(f"{cell(tag)} ({count})" for tag, count in found.tags.items()) + f"{more}."


def _refused(refusals: Sequence[Refusals]) -> str:
    rows = [
        (cell(r.gate), r.pairs, "<br>".join(f"{linked(e.question, e.link)}: {cell(e.reason)}" for e in r.examples))
        for r in refusals
    ]
    return table(["refused by", "pairs", "for example"], rows) if rows else ""


def _talk_table(talks: Sequence[TalkDescription]) -> str:
    rows = [
        (
            linked(talk.title, watch(talk.document_id), 60),
            ", ".join(talk.splits),
            f"{talk.kept} of {talk.pairs}",
            f"{100 * talk.coverage.share:.0f} % ({amount(talk.coverage)})" if talk.coverage else "not known",
            _places(talk) if talk.coverage else "",
        )
        for talk in talks[:TALKS_SHOWN]
    ]
    more = f"\n\n{len(talks) - TALKS_SHOWN} more talks are not shown." if len(talks) > TALKS_SHOWN else ""
    return table(["talk", "split", "kept pairs", "in kept pairs", "where"], rows) + more if rows else ""


def _places(talk: TalkDescription) -> str:
    """The first spans of a talk: times that lead to the video, or paragraphs counted from one."""
    assert talk.coverage is not None
    shown = [
        linked(f"{_clock(start)} to {_clock(end)}", watch(talk.document_id, start))
        if talk.coverage.unit == "seconds"
        else f"{start + 1:.0f} to {end:.0f}"
        for start, end in talk.coverage.spans[:SPANS_SHOWN]
    ]
    return ", ".join(shown) + (", …" if len(talk.coverage.spans) > SPANS_SHOWN else "")


def _clock(seconds: float) -> str:
    minutes, rest = divmod(int(seconds), 60)
    return f"{minutes // 60}:{minutes % 60:02}:{rest:02}" if minutes >= 60 else f"{minutes}:{rest:02}"
