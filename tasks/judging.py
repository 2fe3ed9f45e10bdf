"""Task of the judge: a model compares what base and tuned said, blind."""

from collections.abc import Mapping

from prefect import task
from prefect.utilities.annotations import quote
from understudy.tasks import policies
from understudy.tasks.candidates import Rows, train_rows

from understudy.errors import TeacherStopped
from understudy.progress import track
from understudy.records import AssetRef, DatasetRefs, Judgement, JudgeScore, ModelRefs, Winner
from understudy.stages import judge as judging
from understudy.stages.evaluate import BASE, TUNED
from understudy.workspace import Workspace


def judgements(
    workspace: Workspace, dataset: DatasetRefs, model: ModelRefs, samples: dict[str, AssetRef], rows: Rows
) -> AssetRef | None:
    """A verdict on each held-out question that both answered; None where the preset names no judge."""
    if workspace.judge is None:
        return None
    return policies.made(
        judge,
        "judgements",
        workspace,
        [dataset.pairs, dataset.split, dataset.test, samples[TUNED], samples[BASE]],
        workspace.judge_identity,
        {"run": model.run},
        dataset=dataset,
        samples=(samples[TUNED], samples[BASE]),
        rows=quote(rows),
    )


@task(name="judge", **policies.ASSET)
def judge(
    workspace: Workspace,
    made_from: str,
    run: str,
    dataset: DatasetRefs,
    samples: tuple[AssetRef, AssetRef],
    rows: Rows,
) -> AssetRef:
    """The judge's verdicts, or why it gave none; each reply is kept, and paid once.

    Raises TeacherStopped for a judge that nobody can reach, that has no money left, or that gives no verdicts.
    """
    if found := policies.ready("judgements", workspace, made_from, {"run": run}):
        return found
    taught = [pair for pair, _ in train_rows(workspace, dataset)]
    asked = judging.questions([pair for pair, _ in rows], taught, *(workspace.rows(ref) for ref in samples))
    model = workspace.judge
    model.begin(workspace.judge_folder)
    try:
        with track("judge") as progress:
            told = judging.judge(asked, model, workspace.config.runner.workers, progress)
    except TeacherStopped as error:
        raise TeacherStopped(f"judge {model.label}: {error}; or name another in evaluate.judge, or none") from error
    finally:
        model.close()
    return workspace.save("judgements", told, made_from, run=run)


def scored(workspace: Workspace, judged: AssetRef | None, rows: Rows, human: Mapping[str, Winner]) -> JudgeScore | None:
    """Wins, ties and losses, and how often `human` agrees (pair id > whom a person chose); None without a judge."""
    if judged is None:
        return None
    told: list[Judgement] = workspace.rows(judged)
    return judging.score(told, workspace.judge.label, rows[0][0].teacher, workspace.config.seed, human)
