"""Tasks of the scheduled run: whether to train, whether the new model takes the champion's place, what is forgotten."""

import logging
from pathlib import Path

from prefect import task
from prefect.artifacts import create_markdown_artifact
from prefect.utilities.annotations import quote
from understudy.tasks import candidates, policies, scoring

from understudy.channel import forgetting
from understudy.errors import AssetError
from understudy.records import AssetRef, Challenge, DatasetRefs, ModelRefs, Sample, ScoreRefs, TrainedOn
from understudy.runs import champion
from understudy.stages import evaluate as evaluating
from understudy.stages import promote as promoting
from understudy.workspace import Workspace

log = logging.getLogger("understudy.runs.champion")

COMPARED = "fused"
"""The candidate two runs are compared by: it is whole without its base, and the exported files are made of it."""
MOST_FORGOTTEN = 0.5
"""A source that lost more of its talks at once is taken for one that listed badly."""


def models(workspace: Workspace) -> Path:
    """The folder of the channel's runs."""
    return workspace.home / "models" / workspace.config.name


def why_train(workspace: Workspace) -> str | None:
    """Why another training is worth it, in words; None when it is not."""
    now = _trained_on(workspace)
    if champion.current(models(workspace)) is None:
        return "there is no champion yet"
    known = champion.considered(models(workspace))
    before = workspace.current("trained_on", run=known) if known else None
    new = promoting.new_rows(now, workspace.read(before)) if before else len(now.rows)
    least = workspace.config.sync.min_new_pairs
    log.info("%d new rows in train since the last training; %d make another one worth it", new, least)
    return f"{new} new rows in train since the last training" if new >= least else None


def decide(workspace: Workspace, dataset: DatasetRefs, model: ModelRefs, score: ScoreRefs) -> Challenge:
    """Compare a finished run with the champion; promote or refuse it."""
    folder, run = models(workspace), model.run
    rows = _trained_on(workspace)
    workspace.save("trained_on", [rows], workspace.fingerprint("trained_on", extra=rows.rows), run=run)
    now = champion.current(folder)
    if now and now.name == run:
        found = _against_itself(workspace, dataset, run)
    elif now:
        found = workspace.read(_challenged(workspace, dataset, run, now.name))
    else:
        found = promoting.against_base(workspace.read(score.scorecard))
    if set(score.refused) >= set(model.files):
        found = promoting.refused(found, "none of its exported files is like the model it was made of")
    if found.promoted and (since := champion.rolled_back(folder, run)):
        found = promoting.refused(found, f"somebody rolled back from it ({since}); to use it again, choose it yourself")
    if not (now and now.name == run):
        (champion.promote if found.promoted else champion.refuse)(folder, run, found.reasons)
    return found


@task(name="challenge", **policies.ASSET)
def challenge(
    workspace: Workspace,
    made_from: str,
    run: str,
    champion_run: str,
    dataset: DatasetRefs,
    samples: tuple[AssetRef, AssetRef],
    rows: candidates.Rows,
) -> AssetRef:
    """Challenger minus champion on the same held-out rows."""
    theirs: list[Sample] = workspace.rows(samples[0])
    ours = promoting.on_the_champions_tokens(workspace.rows(samples[1]), theirs)
    card = evaluating.score(
        workspace.config.name,
        run,
        workspace.read(dataset.split),
        rows,
        {evaluating.BASE: theirs, evaluating.TUNED: ours},
        {},
        scoring.metrics(workspace),
        workspace.config.seed,
        dataset.test.sha256,
        evaluating.Extras(references=scoring.references(workspace, dataset, rows)),
    )
    return workspace.save("challenge", [promoting.against_champion(card, champion_run)], made_from, run=run)


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


def show(workspace: Workspace, found: Challenge | None, why_not: str, forgotten: list[str]) -> None:
    """Who is the champion and why, on one page."""
    now = champion.current(models(workspace))
    page = [f"Champion of {workspace.config.name}: `{now.name if now else 'none yet'}`."]
    page.append(promoting.table(found) if found else why_not)
    if forgotten:
        page.append(
            f"Forgotten, as their source no longer has them: {', '.join(forgotten)}. Models trained before that were "
            "trained on them: train again, or delete them."
        )
    past = champion.history(models(workspace))[-10:]
    page.append("\n".join(f"- {r.at}: `{r.run}` {r.action}. {'; '.join(r.reasons)}" for r in reversed(past)))
    create_markdown_artifact(
        key=f"{workspace.config.name}-champion",
        markdown="\n\n".join(page),
        description="The model in use, and why it was or was not replaced.",
    )


def _challenged(workspace: Workspace, dataset: DatasetRefs, run: str, champion_run: str) -> AssetRef:
    """The comparison of `run` with the champion; the champion answers again where the held-out rows changed."""
    rows, engine = quote(candidates.test_rows(workspace, dataset)), workspace.engine_identity("mlx")
    weights = workspace.current("fused", run=champion_run)
    if weights is None:
        raise AssetError(
            f"the champion {champion_run} of {workspace.config.name} has no fused model any more; choose another run: "
            f"understudy rollback {workspace.config.name}"
        )
    inputs = [weights, dataset.test]
    theirs = workspace.fresh(
        "samples", workspace.fingerprint("samples", inputs, engine), run=champion_run, candidate=COMPARED
    )
    theirs = theirs or policies.made(
        candidates.answer,
        "samples",
        workspace,
        inputs,
        engine,
        {"run": run, "candidate": "champion"},
        engine="mlx",
        model=weights,
        adapter=None,
        rows=rows,
    )
    ours = workspace.current("samples", run=run, candidate=COMPARED)
    assert ours is not None, "the challenger is scored before it is compared"
    return policies.made(
        challenge,
        "challenge",
        workspace,
        [dataset.pairs, dataset.split, theirs, ours],
        champion_run,
        {"run": run},
        champion_run=champion_run,
        dataset=dataset,
        samples=(theirs, ours),
        rows=rows,
    )


def _against_itself(workspace: Workspace, dataset: DatasetRefs, run: str) -> Challenge:
    return Challenge(
        challenger=run,
        champion=run,
        test_sha256=dataset.test.sha256,
        differences={},
        verdicts={},
        promoted=False,
        reasons=["the same settings on the same rows give the champion itself"],
    )


def _trained_on(workspace: Workspace) -> TrainedOn:
    """The rows of train as they are now, without the variants."""
    ref = workspace.current("train")
    assert ref is not None, "the dataset is built before anybody asks what it holds"
    return promoting.trained_on(workspace.rows(ref))
