"""Laws of the parity checks, on numbers set by hand and a comparison that only looks them up."""

from collections.abc import Mapping
from pathlib import Path

import pytest

from understudy.errors import AssetError, ConfigError, DatasetError, ExportError
from understudy.interfaces import Candidate, Compare, Compared, RowCompared
from understudy.records import ChatExample, Message, Pair, ParityCheck, ParityReport, Sample
from understudy.report import parity_table
from understudy.scoring import refusals
from understudy.sections import LimitSettings
from understudy.stages import parity

LIMITS, TOKENS, MAX_TOKENS = LimitSettings(), 50, 100
NAMES = ("adapter", "fused", "F16", "Q8_0", "Q4_K_M")
CANDIDATES = [Candidate(name, "mlx" if place < 2 else "llama_cpp", Path(name)) for place, name in enumerate(NAMES)]
SIZES = {"adapter": 5, "fused": 160, "F16": 160, "Q8_0": 80, "Q4_K_M": 45}


def pair(number: int) -> tuple[Pair, ChatExample]:
    messages = [Message(role="user", content="Why?"), Message(role="assistant", content="So.")]
    fields = dict.fromkeys(("published", "start_seconds", "end_seconds", "prompt_sha256", "gate", "reason"))
    return Pair(
        pair_id=f"talk-{number % 4}#{number}",
        document_id=f"talk-{number % 4}",
        title="",
        question_number=number + 1,
        question="Why?",
        answer="So.",
        tags=[],
        document_sha256="0",
        teacher="extractive",
        kept=True,
        **fields,
    ), ChatExample(messages=messages)


ROWS = [pair(number) for number in range(20)]


def samples_of(
    text: str = "Wax is **fuel**.", stopped: bool = True, tokens: int = TOKENS, odd: str | None = None
) -> list[Sample]:
    """Samples that all say `text`, the first one `odd`."""
    return [
        Sample(
            pair_id=row.pair_id,
            document_id=row.document_id,
            nll=2.0 * tokens,
            tokens=tokens,
            text=odd if odd is not None and place == 0 else text,
            new_tokens=30,
            stopped=stopped,
            seconds=1.5,
            first_token_seconds=0.5,
            prompt_tokens=10,
            prompt_seconds=0.5,
            peak_memory_bytes=1000 + place,
        )
        for place, (row, _) in enumerate(ROWS)
    ]


def by_table(table: Mapping[str, tuple[float, float, float]], refuse: Mapping[str, str] = {}) -> Compare:
    """A comparison whose every row has the (change of loss, KL, share of same tokens) of its candidate."""

    def compare(reference: Candidate, candidate: Candidate, rows: object, report: object) -> Compared:
        if candidate.name in refuse:
            raise ExportError(refuse[candidate.name])
        change, kl, same = table.get(candidate.name, (0.0, 0.001, 0.99))
        assert isinstance(rows, list)
        row = RowCompared(TOKENS, 2.0 * TOKENS, (2.0 + change) * TOKENS, kl * TOKENS, round(same * TOKENS))
        return Compared([row] * len(rows), True)

    return compare


def check(compare: Compare, samples: Mapping[str, list[Sample]] = {}) -> ParityReport:
    everyone = {name: samples_of() for name in NAMES} | dict(samples)
    return parity.check(
        "candles", "r1", CANDIDATES, SIZES, ROWS, everyone, LIMITS, MAX_TOKENS, compare, 0, lambda d, t, n="": None
    )


def refused(report: ParityReport) -> dict[str, str]:
    return {check.name: check.refused for check in report.checks if check.refused}


def test_what_stays_within_its_limits_is_offered_and_the_smallest_recommended() -> None:
    report = check(by_table({}))
    assert refused(report) == {} and report.recommended == "Q4_K_M" and report.notes == []
    assert [(check.name, check.reference) for check in report.checks] == [
        ("adapter", None), ("fused", "adapter"), ("F16", "fused"), ("Q8_0", "F16"), ("Q4_K_M", "F16"),
    ]  # fmt: skip
    assert report.checks[2].tokens == len(ROWS) * TOKENS
    assert (report.checks[0].tokens_per_second, report.checks[0].prompt_tokens_per_second) == (30, 20)
    assert (report.checks[0].first_token_seconds, report.checks[0].peak_memory_bytes) == (0.5, 1019)


@pytest.mark.parametrize(
    ("numbers", "words"),
    [
        ((0.12, 0.001, 0.99), r"loss changes by \+0.1200 nats per token \(allowed 0.1\)"),
        ((-0.12, 0.001, 0.99), r"loss changes by -0.1200"),
        ((0.0, 0.2, 0.99), r"KL divergence 0.2000 per token \(allowed 0.15\)"),
        ((0.0, 0.001, 0.75), r"top-1 agreement 7[56].0% \(at least 80%\)"),
    ],
)
def test_a_number_over_its_limit_refuses_that_file_alone(numbers: tuple[float, float, float], words: str) -> None:
    import re

    report = check(by_table({"Q4_K_M": numbers}))
    assert list(refused(report)) == ["Q4_K_M"] and report.recommended == "Q8_0"
    assert re.search(words, refused(report)["Q4_K_M"]) and "against F16" in refused(report)["Q4_K_M"]


def test_a_refused_file_takes_with_it_what_was_made_of_it() -> None:
    report = check(by_table({"fused": (0.02, 0.001, 0.99)}))
    assert list(refused(report)) == ["fused", "F16", "Q8_0", "Q4_K_M"] and report.recommended is None
    assert refused(report)["F16"] == "made of fused, which is refused"


def test_a_file_that_cannot_be_compared_is_refused_with_that_reason() -> None:
    report = check(by_table({}, {"Q8_0": "Q8_0: reads other tokens than F16"}))
    assert refused(report) == {"Q8_0": "Q8_0: reads other tokens than F16"}
    assert report.checks[3].kl is None and report.checks[3].limits["kl"] == LIMITS.q8.kl


def test_a_file_that_never_stops_is_refused() -> None:
    report = check(by_table({}), {"Q8_0": samples_of(stopped=False)})
    assert refused(report) == {"Q8_0": "never stops by itself: 0 of 20 answers ended within 100 tokens"}


def test_fewer_endings_than_the_adapters_refuse_a_file_and_a_few_do_not() -> None:
    def every(n: int) -> list[Sample]:
        return [s.model_copy(update={"stopped": place % n != 0}) for place, s in enumerate(samples_of())]

    assert "fewer answers end by themselves" in refused(check(by_table({}), {"Q8_0": every(2)}))["Q8_0"]
    assert not refused(check(by_table({}), {"Q8_0": every(20)}))
    assert not refused(check(by_table({}), {name: every(2) for name in NAMES})), "as the adapter does"


def test_empty_answers_are_no_endings() -> None:
    assert refused(check(by_table({}), {"Q8_0": samples_of(text="  ")}))["Q8_0"].startswith("never stops")


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ("<think>\nhm</think> Wax.", "think tags"),
        ("Wax.\nuser\nAnd then?", "role headers"),
        ("Wax.<|im_end|>", "control tokens"),
        ("Wax.</s>", "control tokens"),
        ("<start_of_turn>model\nWax.", "control tokens"),
    ],
)
def test_what_only_the_template_may_write_refuses_a_file(text: str, kind: str) -> None:
    why = refused(check(by_table({}), {"Q8_0": samples_of(odd=text)}))
    assert f"1 of 20 answers hold {kind} (allowed 0%, true share up to 24%)" in why["Q8_0"]


@pytest.mark.parametrize(
    "text", ["The user asks.", "2 < 3 | 4 > 1", "I think so.", "Assistant professors burn candles."]
)
def test_plain_words_are_no_leak(text: str) -> None:
    assert not refused(check(by_table({}), {"Q8_0": samples_of(odd=text)}))


def test_stopping_is_not_judged_where_no_answer_could_fit_the_limit() -> None:
    long = {name: samples_of(stopped=False, tokens=MAX_TOKENS + 1) for name in NAMES}
    report = check(by_table({}), long)
    assert not refused(report) and "could not be judged" in report.notes[0]
    assert all(check.stopping and check.stopping.ended is None for check in report.checks)


def test_without_held_out_rows_there_is_one_sentence() -> None:
    with pytest.raises(DatasetError, match="no held-out pair"):
        parity.check("c", "r", CANDIDATES, SIZES, [], {}, LIMITS, 8, by_table({}), 0, lambda d, t, n="": None)


def test_many_rows_are_thinned_to_rows_of_every_talk() -> None:
    chosen = parity.spread(ROWS, {row.pair_id: 3000 for row, _ in ROWS}, most=12_000)
    assert len(chosen) == 4 and len({row.document_id for row, _ in chosen}) == 4
    assert len(parity.spread(ROWS, {row.pair_id: 99_999 for row, _ in ROWS}, most=10)) == 1
    assert parity.spread(ROWS[:3], {row.pair_id: 1 for row, _ in ROWS}) == ROWS[:3]


@pytest.mark.parametrize(
    ("type", "section"),
    [("fused", "fused"), ("F16", "f16"), ("BF16", "f16"), ("Q8_0", "q8"), ("Q4_K_M", "q4"), ("IQ4_XS", "q4"),
     ("Q5_K_S", "q5"), ("Q6_K", "q6"), ("Q3_K_L", "q3"), ("IQ2_XXS", "q2"), ("IQ1_S", "q2")],
)  # fmt: skip
def test_every_type_has_the_limits_of_its_class(type: str, section: str) -> None:
    assert parity.limit_of(type, LIMITS) is getattr(LIMITS, section)


def test_refusals_are_read_back_and_a_missing_report_refuses_nothing(tmp_path: Path) -> None:
    assert refusals.refused(tmp_path) == {}
    (tmp_path / refusals.FILE).write_text(check(by_table({"Q8_0": (1.0, 0.0, 1.0)})).model_dump_json())
    assert list(refusals.refused(tmp_path)) == ["Q8_0"]
    (tmp_path / refusals.FILE).write_text('{"channel": 1')
    with pytest.raises(AssetError, match="delete it and run again"):
        refusals.refused(tmp_path)


def test_the_table_shows_every_hop_and_every_reason() -> None:
    text = parity_table.markdown(check(by_table({"Q4_K_M": (0.12, 0.2, 0.8)}), {"Q8_0": samples_of(odd="<think>")}))
    assert all(f"| {name} |" in text for name in NAMES)
    assert "**Q4_K_M** is refused: against F16: loss changes" in text and "Recommended: **F16**" in text
    bare = ParityReport(
        channel="c", run="r", checks=[ParityCheck(name="adapter", reference=None, bytes=1)], recommended=None
    )
    assert "Every file is refused" in parity_table.markdown(bare)


def test_one_limit_is_changed_alone(root: Path) -> None:
    from understudy.config import load

    preset = root / "deployments/presets/tiny.yaml"
    limits = load(preset, {"export.limits.q4.kl": 0.1, "export.limits.leaks": 0.02}).export.limits
    assert limits.q4 == LIMITS.q4.model_copy(update={"kl": 0.1}) and limits.leaks == 0.02 and limits.q8 == LIMITS.q8
    with pytest.raises(ConfigError, match=r"export.limits.q4.kl: .* \(got -1\)"):
        load(preset, {"export.limits.q4.kl": -1})
    with pytest.raises(ConfigError, match="unknown key 'export.limits.q7'"):
        load(preset, {"export.limits.q7": {"kl": 1}})
