"""Laws of the wired scorecard, on samples made by hand and a judge on loopback: nothing is trained."""

import json
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from tests.flows.conftest import ROOT, files_under
from tests.unit.calls.test_judging import JudgeServer, Rule, always_first, fair, prose
from tests.unit.pairs import example, pair
from understudy import preflight, store
from understudy.calls.ledger import CallLedger
from understudy.calls.model_teacher import CALLS
from understudy.channel import forgetting
from understudy.config import load
from understudy.errors import ConfigError, TeacherStopped
from understudy.graph import Graph, Make, fingerprint_of, require
from understudy.interfaces import Candidate
from understudy.records import (
    AdapterCard,
    AssetRef,
    BaseCard,
    DatasetRefs,
    Divergence,
    Drift,
    FusedCard,
    ModelRefs,
    Pair,
    ParityReport,
    Record,
    Sample,
    Scorecard,
    SuiteAnswers,
)
from understudy.scoring import suites
from understudy.stages import split as splitting
from understudy.workspace import Workspace

pytestmark = pytest.mark.usefixtures("prefect_server")
TALKS = ("kettle", "lever", "bread", "bicycle", "bridge", "soap", "glass", "rope")
TEACHER = "**Heat**, like a candle, waits.\n\nYou see {n}: the {talk} is a guest, and what is {n} to it? " + "So. " * 30
PLAIN = "In general the {talk} is related to {n} in most of the cases that are considered here. " * 4


class Made(NamedTuple):
    """A workspace with a dataset and a run in it."""

    workspace: Workspace
    dataset: DatasetRefs
    model: ModelRefs
    samples: dict[str, AssetRef]
    checked: AssetRef


def made(home: Path, talks: tuple[str, ...] = TALKS, changes: dict[str, Any] | None = None, base: str = PLAIN) -> Made:
    """A run whose adapter speaks like the teacher and whose base says `base`."""
    wanted = {"name": "tea", "split.test": 0.5, "runner.workers": 2} | (changes or {})
    workspace = Workspace(home=home, config=load(ROOT / "deployments/presets/tiny.yaml", wanted))
    rows = _dataset(workspace, talks)
    card = AdapterCard(
        trainable_parameters=1, steps=3, iterations=3, epochs=1, stopped_early=False, best_iteration=2,
        base_valid_loss=3.0, best_valid_loss=2.0, longest_row=9, padding_share=0.0, tokens_per_second=1.0,
        overhead_share=0.0, peak_memory_bytes=1, seconds=1.0, settings={},
    )  # fmt: skip
    model = ModelRefs(
        run="aaaaaaaa",
        base=_folder(workspace, "base", BaseCard(name="b", architecture="llama", parameters=1), base="b-1"),
        adapter=_folder(workspace, "adapter", card, run="aaaaaaaa"),
        fused=_folder(
            workspace, "fused", FusedCard(architecture="llama", parameters=1, changed_share=1.0), run="aaaaaaaa"
        ),
        files={},
    )
    samples = {name: _samples(workspace, rows, name, base) for name in ("base", "adapter")}
    checked = workspace.save(
        "parity", [ParityReport(channel="tea", run="aaaaaaaa", checks=[], recommended=None)], "h", run="aaaaaaaa"
    )
    return Made(workspace, rows, model, samples, checked)


def _dataset(workspace: Workspace, talks: tuple[str, ...]) -> DatasetRefs:
    pairs = [
        pair(talk, at, f"What does the {talk} teach about {topic}?", TEACHER.format(n=topic, talk=talk))
        for talk in talks
        for at, topic in enumerate(("heat", "force", "patience", "colour"), 1)
    ]
    kept: dict[str, Pair] = {one.pair_id: one for one in pairs}
    plan = splitting.split(pairs, workspace.config.split.model_copy(update={"near_duplicate": 1.0}), 0)
    workspace.save("pairs", pairs, "hand")
    for side in splitting.SPLITS:
        workspace.save(side, [example(kept[name]) for name in plan.splits[side]], "hand")
    workspace.save("split", [plan], "hand")
    return Graph(workspace).on_disk()


def _folder(workspace: Workspace, name: str, card: Record, **keys: str) -> AssetRef:
    def fill(out: Path) -> Record:
        (out / "weights").write_text(name)
        (out / "metrics.jsonl").write_text("")
        return card

    return workspace.build(name, fill, "hand", **keys)


def _samples(workspace: Workspace, rows: DatasetRefs, name: str, base: str) -> AssetRef:
    samples = [
        Sample(
            pair_id=one.pair_id,
            document_id=one.document_id,
            nll=(20.0 if name == "base" else 12.0) + 0.1 * at,
            tokens=10,
            text=(base if name == "base" else TEACHER).format(n=at, talk=one.document_id),
            new_tokens=20,
            stopped=True,
            seconds=1.0,
        )
        for at, (one, _) in enumerate(Graph(workspace, known=dict(rows)).held_out())
    ]
    return workspace.save("samples", samples, name, run="aaaaaaaa", candidate=name)


def graph_of(what: Made, make: Make = require) -> Graph:
    """The graph of the run, with everything that comes before its scorecard."""
    model = {name: getattr(what.model, name) for name in ("base", "adapter", "fused")}
    samples = {f"samples/{name}": ref for name, ref in what.samples.items()}
    known = dict(what.dataset) | model | {"f16": what.model.fused, "parity": what.checked} | samples
    return Graph(what.workspace, make, known)


def scored(what: Made, suites: dict[str, AssetRef] | None = None) -> Scorecard:
    """What the flow does after everybody was asked."""
    from prefect import flow
    from understudy.tasks import policies

    @flow
    def finish() -> AssetRef:
        graph = graph_of(what, policies.materialize)
        graph.known |= {"drift" if name == "drift" else f"suites/{name}": ref for name, ref in (suites or {}).items()}
        return graph.get("scorecard")

    card: Scorecard = what.workspace.read(finish())
    return card


def judged_by(rule: Rule, home: Path, **changes: Any) -> tuple[list[Scorecard], int]:
    """Two scorecards with the same judge, and how often it was called."""
    with JudgeServer(rule) as server:
        price = {"input": 1.0, "output": 2.0}
        judge = {"use": "openai", "model": "judge-1", "base_url": server.url, "price": price} | changes
        what = made(home, changes={"evaluate.judge": judge})
        return [scored(what), scored(what)], len(server.bodies)


def test_the_scorecard_knows_the_teacher_and_the_adapter(tmp_path: Path) -> None:
    card = scored(made(tmp_path))
    assert {"format_gap_closed", "style_gap_closed_teacher", "copied"} <= set(card.differences)
    assert card.phrases and card.decision is not None and card.judge is None
    assert "no judge" in " ".join(card.notes) and "forgetting was not measured" in " ".join(card.notes)


def test_a_judge_is_asked_once_and_its_verdict_is_kept(tmp_path: Path) -> None:
    (card, again), calls = judged_by(fair, tmp_path)
    assert card == again and card.judge is not None
    assert (card.judge.wins, card.judge.losses, calls) == (card.test_pairs, 0, 2 * card.test_pairs)
    assert (tmp_path / "data/tea/judge" / CALLS).exists() and not (tmp_path / "data/tea" / CALLS).exists()


def test_a_judge_that_takes_what_stands_first_finds_only_ties(tmp_path: Path) -> None:
    (card, _), _ = judged_by(always_first, tmp_path)
    assert card.judge and card.judge.ties == card.judge.pairs
    assert card.verdicts["judge_voice"] == "not enough data"


def test_a_judge_that_writes_prose_stops_the_run_and_says_what_to_change(tmp_path: Path) -> None:
    with pytest.raises(TeacherStopped, match=r"judge openai/judge-1: .*without a usable.*evaluate\.judge"):
        judged_by(prose, tmp_path)
    assert not list(tmp_path.glob("models/tea/*/judgements.jsonl"))


def test_a_verdict_that_is_missing_is_counted_for_neither_side(tmp_path: Path) -> None:
    def at_times(shown: dict[str, str]) -> str:
        return prose(shown) if "lever" in shown["question"] or "soap" in shown["question"] else fair(shown)

    (card, _), _ = judged_by(at_times, tmp_path)
    assert card.judge and card.judge.wins + card.judge.errors == card.judge.pairs
    assert card.judge.errors == 0 or any("gave no verdict" in note for note in card.notes)


def test_who_judges_is_part_of_what_a_scorecard_is_made_from(tmp_path: Path) -> None:
    def of(judge: dict[str, Any]) -> str:
        changes = {"name": "tea", "evaluate.judge": judge}
        workspace = Workspace(home=tmp_path, config=load(ROOT / "deployments/presets/tiny.yaml", changes))
        return fingerprint_of(workspace, "scorecard")

    one = {"use": "openai", "model": "judge-1", "base_url": "http://127.0.0.1:9/v1"}
    assert len({of({"use": "none"}), of(one), of(one | {"model": "judge-2"}), of(one | {"temperature": 0.5})}) == 4
    assert of(one) == of(one | {"base_url": "http://127.0.0.1:10/v1"}), "a moved server is the same judge"


def test_what_was_said_of_a_forgotten_talk_is_forgotten(tmp_path: Path) -> None:
    judged_by(fair, tmp_path)
    what = made(tmp_path)
    talk = graph_of(what).held_out()[0][0].document_id
    before = _calls(tmp_path)
    row = what.workspace.ledger.rows()
    assert not row and talk in before
    forgetting.forget(tmp_path / "data/tea", [_ledger_row(talk)])
    assert talk not in _calls(tmp_path) and _calls(tmp_path) < before


def _ledger_row(talk: str) -> Any:
    from understudy.channel.ledger import Row

    empty = dict.fromkeys(Row._fields)
    return Row(
        **(
            empty
            | {"document_id": talk, "status": "ok", "title": talk, "locator": talk, "revision": "1", "attempts": 0}
        )
    )


def _calls(home: Path) -> set[str]:
    import sqlite3

    ledger = CallLedger(home / "data/tea/judge" / CALLS)
    ledger.close()
    with sqlite3.connect(home / "data/tea/judge" / CALLS) as opened:
        return {talk for (talk,) in opened.execute("SELECT DISTINCT document_id FROM calls")}


@pytest.mark.parametrize(
    "judge", [{"use": "extractive"}, {"use": "openai", "model": "m", "api_key_env": "NO_SUCH_KEY"}]
)
def test_a_judge_that_cannot_judge_is_refused_before_anything_starts(tmp_path: Path, judge: dict[str, Any]) -> None:
    config = load(ROOT / "deployments/presets/tiny.yaml", {"evaluate.judge": judge})
    with pytest.raises(ConfigError) as error:
        preflight.check(Workspace(home=tmp_path, config=config))
    assert [problem for problem in error.value.problems if problem.startswith("evaluate.judge.")]
    assert not (tmp_path / "data").exists()


def test_suites_and_drift_are_in_the_scorecard(tmp_path: Path) -> None:
    what = made(tmp_path)
    card = scored(what, _asked(what, drift=True))
    assert {"instructions", "choices", "off_topic", "kl_general", "kl_domain"} <= set(card.differences)
    assert card.verdicts["kl_general"] == "worse" and card.verdicts["choices"] == "worse"
    assert not any("forgetting" in note or "prompts" in note for note in card.notes)


def test_answers_from_given_texts_are_in_the_scorecard(tmp_path: Path) -> None:
    text = {"title": "On Tea", "text": "Boiling water draws out tannin."}
    lines = [
        {"item_id": str(n), "question": "Why boil it?", "contexts": [text], "keywords": ["tannin"]} for n in range(12)
    ]
    file = tmp_path / "items.jsonl"
    file.write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
    what = made(tmp_path, changes={"evaluate.retrieval": str(file)})
    replies = {"base": "By On Tea, tannin comes out.", "adapter": "Tea is old."}
    retrieved = {name: {str(n): words for n in range(12)} for name, words in replies.items()}
    card = scored(what, _asked(what, drift=True, retrieved=retrieved))
    assert card.verdicts["keyword_coverage"] == card.verdicts["cites"] == "worse"
    assert card.candidates[0].metrics["keyword_coverage"].value == 1


def test_a_base_that_says_nothing_is_told_and_harms_no_number(tmp_path: Path) -> None:
    what = made(tmp_path, base="")
    card = scored(what, _asked(what, drift=False))
    notes = " ".join(card.notes)
    assert "base wrote nothing" in notes and "the drift of tuned from it" in notes
    assert "kl_general" not in card.verdicts and not card.phrases
    assert "style_gap_closed_teacher" not in card.differences


def test_one_held_out_talk_proves_nothing(tmp_path: Path) -> None:
    card = scored(made(tmp_path, talks=("kettle", "lever", "bread"), changes={"split.test": 0.2}))
    assert card.test_documents == 1 and set(card.verdicts.values()) == {"not enough data"}
    assert card.decision and card.decision.action == "more data"


def test_an_older_scorecard_is_replaced(tmp_path: Path) -> None:
    what = made(tmp_path)
    path = what.workspace.path("scorecard", run="aaaaaaaa")
    old = {
        "channel": "tea", "run": "aaaaaaaa", "test_pairs": 1, "test_documents": 1, "test_sha256": "0",
        "candidates": [], "differences": {}, "verdicts": {}, "honest": True,
    }  # fmt: skip
    store.write_file(tmp_path, "scorecard", path, json.dumps(old).encode(), 1, "of an older program")
    assert what.workspace.read(what.workspace.latest("scorecard", run="aaaaaaaa")).version == 1
    assert scored(what).version == 2
    before = files_under(tmp_path)
    assert scored(what).version == 2 and files_under(tmp_path) == before


def test_a_file_that_never_stops_is_refused_and_shown(tmp_path: Path) -> None:
    from understudy.interfaces import Compared, RowCompared
    from understudy.sections import LimitSettings
    from understudy.stages import answer, parity

    what = made(tmp_path)
    rows = graph_of(what).held_out()
    good: list[Sample] = what.workspace.rows(what.samples["adapter"])
    endless = [sample.model_copy(update={"stopped": False}) for sample in good]
    names = ("adapter", "fused", "Q8_0")
    outcome = parity.check(
        "tea", "aaaaaaaa", [Candidate(name, "mlx", tmp_path) for name in names], dict.fromkeys(names, 1), rows,
        {"adapter": good, "fused": good, "Q8_0": endless}, LimitSettings(), 400,
        lambda *_: Compared([RowCompared(10, 1.0, 1.0, 0.0, 10) for _ in rows], True), 0,
        lambda done, total, note="": None,
    )  # fmt: skip
    assert "never stops" in (outcome.checks[-1].refused or "") and outcome.recommended is None
    checked = what.workspace.save("parity", [outcome], "other", run="aaaaaaaa")
    assert not list(answer.quantized_base(graph_of(what), outcome))
    refused = what.workspace.save("samples", endless, "Q8_0", run="aaaaaaaa", candidate="Q8_0")
    samples = what.samples | {"Q8_0": refused}
    card = scored(what._replace(samples=samples, checked=checked))
    assert {c.name: c.metrics["broken"].value for c in card.candidates}["Q8_0"] == 1.0


def test_the_base_is_shown_examples_of_no_held_out_talk(tmp_path: Path) -> None:
    from understudy.stages import answer

    graph = graph_of(made(tmp_path))
    rows, shown = graph.held_out(), answer.prompted(graph)
    text = " ".join(message.content for message in shown[0][1].messages[:-2])
    assert len(shown) == len(rows) and not any(f"the {pair.document_id} " in text for pair, _ in rows)
    assert [row.messages[-1] for _, row in shown] == [row.messages[-1] for _, row in rows]


def _asked(what: Made, drift: bool, retrieved: dict[str, dict[str, str]] | None = None) -> dict[str, AssetRef]:
    """A base that follows and knows everything, an adapter that does nothing of it."""
    prompts = [*suites.instructions()[::4], *suites.off_topic()[::4]]
    choices = suites.choices()[::4]
    answers_of = {
        name: SuiteAnswers(
            answers={prompt.id: "" if name == "adapter" else "yes" for prompt in prompts},
            log_p={choice.id: [worst, -20.0, -20.0, -20.0] for choice in choices},
            retrieved=(retrieved or {}).get(name, {}),
        )
        for name, worst in (("base", -1.0), ("adapter", -90.0))
    }
    refs = {
        name: what.workspace.save("suites", [answers], name, place=f"tea/{name}")
        for name, answers in answers_of.items()
    }
    far = [
        Drift(kind="general", name=p.id, divergence=Divergence(nats=50.0 + at, tokens=50))
        for at, p in enumerate(prompts)
    ]
    far += [Drift(kind="domain", name=f"t{at}", divergence=Divergence(nats=5.0 + at, tokens=50)) for at in range(4)]
    return refs | {"drift": what.workspace.save("drift", far if drift else [], "hand", run="aaaaaaaa")}
