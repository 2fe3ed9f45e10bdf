"""
Stage `judge`: a model compares the tuned model's answers with the base's, blind, and is itself checked.

Wins are counted in voice. How often the judge is consistent, whether it prefers the first or the longer answer,
and whether a person agrees with it, are part of the result.
"""

import math
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Literal

from understudy.calls import judging
from understudy.calls.model_teacher import ModelTeacher
from understudy.errors import AssetError, TeacherStopped
from understudy.graph import Graph, Node, Refs, judge_identity
from understudy.interfaces import Progress
from understudy.records import AssetRef, Interval, Judgement, JudgeScore, Pair, Sample, Winner
from understudy.runs import teachers
from understudy.scoring.statistics import kappa, mean_change, sign_test, wilson
from understudy.scoring.verdicts import MIN_PAIRS

VERSION = 1
MATCHED_LOG_RATIO = 0.2
"""Two answers are about equally long when the logarithm of their lengths' ratio is within this."""
_WORTH: dict[Winner, float] = {"tuned": 1.0, "tie": 0.0, "base": -1.0}


def identity(graph: Graph, keys: dict[str, str], inputs: Refs) -> object:
    """The judge and its questions."""
    return judge_identity(graph.config)


def materialize(node: Node) -> AssetRef:
    """The judge's verdicts, or why it gave none; each reply is kept, and paid once.

    Raises TeacherStopped for a judge that cannot be reached, that has no money left, or that gives no verdicts.
    """
    train = [pair for pair, _ in node.train_rows()]
    held_out = [pair for pair, _ in node.held_out()]
    pairs = questions(held_out, train, node.rows("samples/adapter"), node.rows("samples/base"))
    model: ModelTeacher = node.config.plugin("teacher", node.config.evaluate.judge)
    teachers.begin(node.workspace, "judge", model)
    try:
        with node.track() as progress:
            judgements = judge(pairs, model, node.config.runner.workers, progress)
    except TeacherStopped as error:
        raise TeacherStopped(f"judge {model.label}: {error}; or name another in evaluate.judge, or none") from error
    finally:
        model.close()
    return node.save(judgements)


def questions(
    held_out: Sequence[Pair], train: Sequence[Pair], tuned: Sequence[Sample], base: Sequence[Sample]
) -> list[judging.Question]:
    """The held-out questions that both answered, in their order. Raises AssetError when there is none."""
    by_tuned, by_base = ({s.pair_id: s.text for s in side if s.text is not None} for side in (tuned, base))
    both = [pair for pair in held_out if pair.pair_id in by_tuned and pair.pair_id in by_base]
    if not both:
        raise AssetError(
            "a judge compares answers, and no held-out question was answered by base and tuned; score again"
        )
    # Another answer of the teacher for each, so that one odd sample does not colour all verdicts.
    samples = [pair.answer for pair in train] or [""]
    return [
        judging.Question(
            pair.pair_id,
            pair.document_id,
            pair.question,
            pair.answer,
            samples[number * len(samples) // len(both)],
            by_tuned[pair.pair_id],
            by_base[pair.pair_id],
        )
        for number, pair in enumerate(both)
    ]


def judge(
    questions: Sequence[judging.Question], model: ModelTeacher, workers: int, progress: Progress
) -> list[Judgement]:
    """A verdict, or an error, for each question, in order; `workers` questions at a time. Raises TeacherStopped.

    What was paid before a stop is not paid again.
    """
    judgements: list[Judgement] = []
    with ThreadPoolExecutor(max_workers=workers) as pool:
        waiting = [pool.submit(judging.ask, model, question) for question in questions]
        try:
            for done, one in enumerate(waiting, 1):
                judgements.append(one.result())
                progress(done, len(questions))
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise
    return judgements


def score(
    judgements: Sequence[Judgement], judge: str, teacher: str, seed: int, human: Mapping[str, Winner] | None = None
) -> JudgeScore:
    """Wins, ties and losses with their interval, and how far this judge can be trusted.

    `judge` and `teacher` are labels; `human` maps pair id > a person's blind choice between the same answers.
    """
    verdicts = [one for one in judgements if one.voice is not None]
    wins, losses = (sum(one.voice == side for one in verdicts) for side in ("tuned", "base"))
    difference = _difference(verdicts, seed)
    matched = [one for one in verdicts if abs(math.log(one.length_ratio)) < MATCHED_LOG_RATIO]
    decided = sum(one.decided for one in verdicts)
    rated = [(one.voice, human[one.pair_id]) for one in verdicts if human and one.pair_id in human]
    return JudgeScore(
        judge=judge,
        family=judging.family(judge),
        warning=judging.warning(teacher, judge),
        pairs=len(judgements),
        wins=wins,
        ties=len(verdicts) - wins - losses,
        losses=losses,
        errors=len(judgements) - len(verdicts),
        difference=difference,
        win_rate=_win_rate(difference) if difference else None,
        answers=_difference(verdicts, seed, "answer"),
        matched=_difference(matched, seed) if len(matched) >= MIN_PAIRS else None,
        first_slot=wilson(sum(one.first_slot for one in verdicts), decided) if decided else None,
        consistency=wilson(sum(bool(one.consistent) for one in verdicts), len(verdicts)) if verdicts else None,
        sign_p=sign_test(wins, losses),
        contradictions={side: sum(side in one.contradicts for one in verdicts) for side in ("tuned", "base")},
        agreement=wilson(sum(a == b for a, b in rated), len(rated)) if rated else None,
        kappa=kappa([a for a, _ in rated], [b for _, b in rated]) if rated else None,
        usd=sum(one.usd for one in judgements),
    )


def _difference(
    judgements: Sequence[Judgement], seed: int, in_what: Literal["voice", "answer"] = "voice"
) -> Interval | None:
    """Wins minus losses per question, with its interval over talks."""
    if not judgements:
        return None
    worth = [_WORTH[getattr(one, in_what) or "tie"] for one in judgements]
    return mean_change(worth, [one.document_id for one in judgements], seed)


def _win_rate(difference: Interval) -> Interval:
    """Wins minus losses as a win rate in which a tie is half a win."""
    value, low, high = ((1 + end) / 2 for end in (difference.value, difference.low, difference.high))
    return Interval(value=value, low=low, high=high, n=difference.n)
