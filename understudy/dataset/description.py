"""A dataset's description as tables."""

from collections.abc import Mapping, Sequence

from understudy.dataset.contradictions import sentence
from understudy.dataset.describe import Description, Formatting, Refusals, TalkDescription
from understudy.dataset.formats import cell, linked, watch
from understudy.dataset.pictures import amount
from understudy.records import Contradiction
from understudy.scoring.manuals import Approval
from understudy.text.table import plain, table
from understudy.text.words import clock, counted

TALKS_SHOWN = 50
SPANS_SHOWN = 4


def markdown(description: Description) -> str:
    """The description as tables, for a card or an artifact."""
    cost = "" if description.usd is None else f" They cost ${description.usd:.2f}"
    each = "" if description.usd_per_kept is None else f", ${description.usd_per_kept:.4f} per kept pair"
    leakage = description.leakage
    splits = [(split, description.split_talks[split], pairs) for split, pairs in description.splits.items()]
    parts = [
        f"**{counted(len(description.talks), 'talk')}**, {counted(description.pairs, 'pair')}, "
        f"**{description.kept} kept**."
        f"{cost}{each}{'.' if cost else ''}",
        table(["split", "talks", "pairs"], splits),
        f"Leakage: {leakage.rows_sharing_a_document} held-out rows share a talk with train, "
        f"{leakage.near_duplicate_questions} have a near-duplicate there."
        + (f" **{leakage.explained}.**" if leakage.explained else ""),
        _lengths(description),
        _shares(description.formatting),
        _tags(description),
        _private(description.private),
        _refused(description.refusals),
        _talk_table(description.talks),
    ]
    return "\n\n".join(part for part in parts if part)


def approvals(every: Sequence[Approval]) -> str:
    """The verifier's rate of approval, manual by manual."""
    rows = [
        (cell(one.manual), f"{one.approved} of {one.judged}", f"{rate.value:.0%} [{rate.low:.0%}, {rate.high:.0%}]")
        for one in every
        if (rate := one.rate)
    ]
    return table(["manual", "approved by the verifier", "share (95 %)"], rows)


def contradictions(every: Sequence[Contradiction]) -> str:
    """What contradicts each other, both sides; or that nothing was found."""
    if not every:
        return "No contradiction between sections was found."
    lines = [f"- {plain(sentence(one))}" for one in every]
    return "\n".join(
        [f"**Sections contradict each other in {counted(len(every), 'place')}; both are kept.**\n", *lines]
    )


def _lengths(description: Description) -> str:
    named = {
        "words per question": description.question_words,
        "words per answer": description.answer_words,
        "tokens per answer": description.answer_tokens,
    }
    rows = [(name, s.lowest, s.p10, s.median, s.p90, s.highest, f"{s.mean:.0f}") for name, s in named.items() if s]
    return table(["length", "lowest", "10 %", "median", "90 %", "highest", "mean"], rows)


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


def _tags(description: Description) -> str:
    if not description.tags:
        return ""
    rest = description.distinct_tags - len(description.tags)
    more = (f", and {rest} more" if rest else "") + (
        f"; {description.untagged} pairs have none" if description.untagged else ""
    )
    return "Tags: " + ", ".join(f"{cell(tag)} ({count})" for tag, count in description.tags.items()) + f"{more}."


def _private(kinds: Mapping[str, int]) -> str:
    if not kinds:
        return "No e-mail address, telephone number or key was found in the kept pairs."
    found = ", ".join(f"{pairs} with {'an' if kind.startswith('e') else 'a'} {kind}" for kind, pairs in kinds.items())
    return (
        f"**Private things in kept pairs: {found}.** The gate `private` refuses such pairs, or masks what is private."
    )


def _refused(refusals: Sequence[Refusals]) -> str:
    rows = [
        (cell(r.gate), r.pairs, "<br>".join(f"{linked(e.question, e.link)}: {cell(e.reason)}" for e in r.examples))
        for r in refusals
    ]
    return table(["refused by", "pairs", "for example"], rows)


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
    return table(["talk", "split", "kept pairs", "in kept pairs", "where"], rows) + more


def _places(talk: TalkDescription) -> str:
    """The first spans of a talk: times that lead to the video, or paragraphs counted from one."""
    assert talk.coverage is not None
    shown = [
        linked(f"{clock(start)} to {clock(end)}", watch(talk.document_id, start))
        if talk.coverage.unit == "seconds"
        else f"{start + 1:.0f} to {end:.0f}"
        for start, end in talk.coverage.spans[:SPANS_SHOWN]
    ]
    return ", ".join(shown) + (", …" if len(talk.coverage.spans) > SPANS_SHOWN else "")
