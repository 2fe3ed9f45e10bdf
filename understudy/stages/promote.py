"""
Stage `promote`: whether a challenger takes the champion's place, by what a scorecard of the two says.

The rule: no number may be worse, those of PROVEN must be shown to be no worse, and at least one must be better.
Without a champion there is nothing to lose: the first model is promoted unless it is worse than its base.
"""

import logging
from collections.abc import Iterable, Mapping, Sequence

from understudy import store
from understudy.channel import forgetting
from understudy.errors import AssetError
from understudy.graph import Graph, Node, Refs
from understudy.records import (
    AssetRef,
    Challenge,
    ChatExample,
    Interval,
    ModelRefs,
    Sample,
    Scorecard,
    ScoreRefs,
    TrainedOn,
    sha256_of,
)
from understudy.runs import champion
from understudy.stages import answer, evaluate, score
from understudy.workspace import Workspace

VERSION = 3
PROVEN = ("nll_per_token", "well_formatted", "broken")
"""The others, such as shares of a gap that both models have nearly closed, may stay uncertain: between two similar
models they always are, and no challenger would ever pass."""

DISTANCES = ("kl_general",)
"""Drift of a model from its base. The scorecard warns of it; a first model is not refused for it alone, since every
tuned model drifts, and a channel without a champion would be trained for every night."""


COMPARED = "fused"
"""The candidate two runs are compared by: it is whole without its base, and the exported files are made of it."""

MOST_FORGOTTEN = 0.5
"""A source that lost more of its talks at once is taken for one that listed badly."""

log = logging.getLogger("understudy.champion")


def why_train(workspace: Workspace) -> str | None:
    """Why another training is worth it, in words; None when it is not."""
    rows = _rows_now(workspace)
    if champion.current(workspace.models) is None:
        return "there is no champion yet"
    considered = champion.considered(workspace.models)
    before = workspace.latest("trained_on", run=considered) if considered else None
    new = new_rows(rows, workspace.read(before)) if before else len(rows.rows)
    least = workspace.config.sync.min_new_pairs
    log.info("%d new rows in train since the last training; %d make another one worth it", new, least)
    return f"{new} new rows in train since the last training" if new >= least else None


def decide(graph: Graph, model: ModelRefs, scores: ScoreRefs) -> Challenge:
    """Compare a finished run with the champion; promote or refuse it."""
    workspace, run = graph.workspace, model.run
    graph.known["adapter"] = model.adapter
    rows = _rows_now(workspace)
    workspace.save("trained_on", [rows], store.fingerprint("trained_on", rows.rows), run=run)
    now = champion.current(workspace.models)
    if now and now.name == run:
        return _against_itself(graph, run)
    if now:
        challenge: Challenge = workspace.read(_challenged(graph, now.name))
    else:
        challenge = against_base(workspace.read(scores.scorecard))
    if set(scores.refused) >= set(model.files):
        challenge = refused(challenge, "none of its exported files is like the model it was made of")
    if challenge.promoted and (since := champion.rolled_back(workspace.models, run)):
        challenge = refused(challenge, f"it was rolled back manually ({since}); to use it again, choose it yourself")
    (champion.promote if challenge.promoted else champion.refuse)(workspace.models, run, challenge.reasons)
    return challenge


def forget_removed(workspace: Workspace) -> list[str]:
    """Delete the talks that their source no longer has, with all that was made of them; returns their ids."""
    rows = workspace.ledger.rows()
    gone = [row for row in rows if row.status == "removed"]
    if len(gone) > MOST_FORGOTTEN * sum(row.status in ("ok", "removed") for row in rows):
        log.warning(
            "%d of %d talks are gone from the source at once, so nothing is forgotten: look whether it is whole, "
            "or forget them yourself: understudy forget --channel %s ID",
            len(gone), len(rows), workspace.config.name,
        )  # fmt: skip
        return []
    if gone:
        forgetting.forget(workspace.folder, gone)
    return [row.document_id for row in gone]


def identity(graph: Graph, keys: dict[str, str], inputs: Refs) -> str:
    """The run that is challenged."""
    now = champion.current(graph.workspace.models)
    return now.name if now else ""


def materialize(node: Node) -> AssetRef:
    """Challenger minus champion on the same held-out rows."""
    now = champion.current(node.workspace.models)
    assert now is not None, "a champion is challenged"
    champions: list[Sample] = node.rows("champion_samples")
    challengers = on_the_champions_tokens(node.rows("challenger_samples"), champions)
    card = evaluate.score(
        node.config.name,
        node.keys["run"],
        node.read("split"),
        node.held_out(),
        {evaluate.BASE: champions, evaluate.TUNED: challengers},
        {},
        score.metrics(node.config),
        node.config.seed,
        node.ref("test").sha256,
        evaluate.Extras(references=score.references(node)),
    )
    return node.save([against_champion(card, now.name)])


def against_champion(card: Scorecard, champion: str) -> Challenge:
    """The verdict on `card.run`; in `card` the champion has the place of the base, the challenger of the tuned."""
    unsure = {name for name in PROVEN if card.verdicts.get(name) == "not enough data"}
    wrong = [f"{name}: {word}" for name, word in card.verdicts.items() if word == "worse" or name in unsure]
    better = [name for name, word in card.verdicts.items() if word == "better"]
    if not card.verdicts:
        reasons = ["no number could be compared"]
    elif wrong:
        reasons = [
            f"{each} (challenger minus champion {_interval(card.differences, each.split(':')[0])})" for each in wrong
        ]
    elif not better:
        reasons = ["no worse than the champion, and better in nothing"]
    else:
        reasons = [f"{name}: better ({_interval(card.differences, name)})" for name in better]
    return _challenge(card, champion, bool(better) and not wrong, reasons)


def against_base(card: Scorecard) -> Challenge:
    """The verdict on the first model of a channel, from its own scorecard."""
    names = [name for name, word in card.verdicts.items() if word == "worse" and name not in DISTANCES]
    worse = [f"{name}: worse than its base ({_interval(card.differences, name)})" for name in names]
    first = "the first model of this channel, and in no number worse than its base"
    return _challenge(card, None, not worse, worse or [first])


def refused(challenge: Challenge, reason: str) -> Challenge:
    """The same comparison, with the challenger refused for another `reason`."""
    return challenge.model_copy(update={"promoted": False, "reasons": [reason, *challenge.reasons]})


def on_the_champions_tokens(challenger: Sequence[Sample], champion: Sequence[Sample]) -> list[Sample]:
    """The challenger's samples with the token counts of the champion's.

    A base made of talks has another tokenizer each time it is made. The likelihood of the same answer
    compares all the same, over one and the same length.
    """
    lengths = {sample.pair_id: sample.tokens for sample in champion}
    return [s.model_copy(update={"tokens": lengths.get(s.pair_id, s.tokens)}) for s in challenger]


def trained_on(rows: Iterable[ChatExample]) -> TrainedOn:
    """What identifies the rows of train, without their words."""
    return TrainedOn(rows=sorted({sha256_of(row.model_dump_json().encode())[:16] for row in rows}))


def new_rows(now: TrainedOn, before: TrainedOn) -> int:
    """How many rows of `now` are not in `before`."""
    return len(set(now.rows) - set(before.rows))


def table(challenge: Challenge) -> str:
    """The comparison as markdown."""
    against = f"champion `{challenge.champion}`" if challenge.champion else "its base"
    outcome = "is the champion now" if challenge.promoted else "is refused"
    reasons = "\n".join(f"- {reason}" for reason in challenge.reasons)
    lines = [f"| {name} | {_interval(challenge.differences, name)} | {w} |" for name, w in challenge.verdicts.items()]
    head = "| number | difference, 95 % | verdict |\n|---|---|---|\n" if lines else ""
    return (
        f"Challenger `{challenge.challenger}` against {against}: it **{outcome}**.\n\n{reasons}\n\n{head}"
        + "\n".join(lines)
        + f"\n\nBoth were scored on the same held-out rows (`{challenge.test_sha256[:12]}`)."
    )


def _challenge(card: Scorecard, champion: str | None, promoted: bool, reasons: list[str]) -> Challenge:
    return Challenge(
        challenger=card.run,
        champion=champion,
        test_sha256=card.test_sha256,
        differences=card.differences,
        verdicts=card.verdicts,
        promoted=promoted,
        reasons=reasons,
    )


def _interval(differences: Mapping[str, Interval], name: str) -> str:
    interval = differences.get(name)
    return f"{interval.value:+.3f}, from {interval.low:+.3f} to {interval.high:+.3f}" if interval else "not measured"


def _challenged(graph: Graph, champion_run: str) -> AssetRef:
    """The comparison with the champion, which answers again where the held-out rows changed."""
    workspace = graph.workspace
    base, first = graph.node("base").fresh(), graph.config.export.first
    # The champion answers in the form in which its challenger did.
    form = "f16" if base and answer.answers_by_file(workspace.read(base), first) else "fused"
    weights = workspace.latest(form, run=champion_run, type=first)
    if weights is None:
        raise AssetError(
            f"the champion {champion_run} of {graph.config.name} has no {form} model any more; choose another run: "
            f"understudy rollback {graph.config.name}"
        )
    model = {"model": weights}
    champions = graph.node("samples", model, candidate=COMPARED, run=champion_run).fresh()
    champions = champions or graph.get("samples", model, candidate="champion")
    challengers = workspace.latest("samples", run=graph.run, candidate=COMPARED)
    assert challengers is not None, "the challenger is scored before it is compared"
    return graph.get("challenge", {"champion_samples": champions, "challenger_samples": challengers})


def _against_itself(graph: Graph, run: str) -> Challenge:
    return Challenge(
        challenger=run,
        champion=run,
        test_sha256=graph.get("test").sha256,
        differences={},
        verdicts={},
        promoted=False,
        reasons=["the same settings on the same rows give the champion itself"],
    )


def _rows_now(workspace: Workspace) -> TrainedOn:
    """The rows of train as they are now, without the variants."""
    ref = workspace.latest("train")
    assert ref is not None, "a dataset comes before a training"
    return trained_on(workspace.rows(ref))
