"""Stage `grade`: a judge marks every answer, by heart and with passages, as right or wrong by the reference."""

from concurrent.futures import ThreadPoolExecutor

from understudy.calls import grading, judging
from understudy.calls.model_teacher import ModelTeacher
from understudy.errors import TeacherStopped
from understudy.graph import Graph, Node, Refs, judge_identity
from understudy.interfaces import Progress
from understudy.records import ARMS, AssetRef, Grade
from understudy.runs import teachers
from understudy.scoring import arms

VERSION = 1


def identity(graph: Graph, keys: dict[str, str], inputs: Refs) -> object:
    """The judge and what it is asked."""
    return judge_identity(graph.config, grading.KIND)


def materialize(node: Node) -> AssetRef:
    """The marks of each held-out question that all candidates answered; each reply is kept, and paid once.

    Raises TeacherStopped for a judge that cannot be reached or that has no money left.
    """
    asked = questions(node)
    judge: ModelTeacher = node.config.plugin("teacher", node.config.evaluate.judge)
    teachers.begin(node.workspace, "judge", judge)
    try:
        with node.track() as progress:
            return node.save(marked(asked, judge, node.config.runner.workers, node.config.seed, progress))
    except TeacherStopped as error:
        raise TeacherStopped(f"judge {judge.label}: {error}; or name another in evaluate.judge, or none") from error
    finally:
        judge.close()


def questions(node: Node) -> list[grading.Question]:
    """The held-out questions that every candidate of the comparison answered, with what each said."""
    texts = {name: {s.pair_id: s.text for s in node.rows(f"samples/{name}")} for name in ARMS}
    asked = list[grading.Question]()
    for pair, _ in node.held_out():
        answers = {name: text for name, own in texts.items() if (text := own.get(pair.pair_id)) is not None}
        if len(answers) == len(ARMS):
            asked.append(grading.Question(pair.pair_id, pair.document_id, pair.question, pair.answer, answers))
    return asked


def marked(
    asked: list[grading.Question], judge: ModelTeacher, workers: int, seed: int, progress: Progress
) -> list[Grade]:
    """The marks of each question, in order; `workers` questions at a time."""
    grades = list[Grade]()
    with ThreadPoolExecutor(workers) as pool:
        waiting = [pool.submit(grading.ask, judge, question, seed) for question in asked]
        try:
            for done, one in enumerate(waiting, 1):
                grades.append(one.result())
                progress(done, len(asked))
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise
    return grades


def grading_of(node: Node) -> arms.Grading | None:
    """The marks as the comparison takes them; None without a judge or without a mark."""
    if "grades" not in node.inputs:
        return None
    config = node.config
    label = config.plugin("teacher", config.evaluate.judge).label
    writers = [node.held_out()[0][0].teacher]
    if config.verify.on:
        writers.append(config.plugin("teacher", config.verify).label)
    warnings = [text for writer in writers if (text := judging.warning(writer, label))]
    grades: list[Grade] = node.rows("grades")
    right = {(name, one.pair_id): ok for one in grades for name, ok in (one.right or {}).items()}
    return arms.Grading(label, right, warnings[0] if warnings else None) if right else None
