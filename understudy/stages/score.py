"""Stage `score`: everything that is known of a run, compared and written down as scorecard and page."""

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import PurePosixPath

from understudy.config import Config
from understudy.graph import Graph, Node, Refs
from understudy.interfaces import Metric, References
from understudy.records import (
    AssetRef,
    Contradiction,
    Contradictions,
    JudgeScore,
    Pair,
    PairSource,
    Passage,
    Record,
    Sample,
    SuiteAnswers,
    Winner,
)
from understudy.report.evidence import Evidence
from understudy.report.page import html
from understudy.retrieval.index import Index
from understudy.retrieval.quality import quality
from understudy.scoring import manuals, preferences
from understudy.scoring.suites.selection import Selection, drifts
from understudy.stages import against_retrieval, evaluate, grade
from understudy.stages import judge as judging
from understudy.stages.evaluate import BASE, TUNED
from understudy.workspace import Workspace

VERSION = 7


class Talks(Mapping[str, str]):
    """Document id > the talk's own words, read on first use."""

    def __init__(self, workspace: Workspace, names: Sequence[str]) -> None:
        refs = {name: workspace.latest("document", document=name) for name in names}
        self.workspace, self.refs = workspace, {name: ref for name, ref in refs.items() if ref}

    def __getitem__(self, name: str) -> str:
        return str(self.workspace.read(self.refs[name]).text)

    def __iter__(self) -> Iterator[str]:
        return iter(self.refs)

    def __len__(self) -> int:
        return len(self.refs)


def identity(graph: Graph, keys: dict[str, str], inputs: Refs) -> list[object]:
    """The candidates, what counts as right in the suites, and what people chose."""
    candidates = [name.partition("/")[2] for name in inputs if name.startswith("samples/")]
    choices = preferences.load(graph.workspace.run_folder(graph.run))
    judge = judging.VERSION if "judgements" in inputs else None
    marks = Selection(graph.config.evaluate).digest(marks=True)
    prices = [graph.config.machine.prices] if graph.config.against_retrieval else []
    marks_of_judge = [grade.VERSION] if "grades" in inputs else []
    ref = graph.workspace.latest("contradictions") if graph.config.closed_book else None
    known = [ref.sha256] if ref else []
    chosen = [choice.model_dump(mode="json") for choice in choices]
    return [candidates, marks, judge, *marks_of_judge, chosen, *prices, *known]


def materialize(node: Node) -> AssetRef:
    """The scorecard and its page; the scorecard is written last."""
    run, rows, selection = node.keys["run"], node.held_out(), Selection(node.config.evaluate)
    people = preferences.load(node.workspace.run_folder(run))
    samples: dict[str, list[Sample]] = {name: node.workspace.rows(ref) for name, ref in node.group("samples").items()}
    answers: dict[str, SuiteAnswers] = {name: node.workspace.read(ref) for name, ref in node.group("suites").items()}
    against = references(node)
    card = evaluate.score(
        node.config.name,
        run,
        node.read("split"),
        rows,
        samples,
        _sizes(node),
        metrics(node.config),
        node.config.seed,
        node.ref("test").sha256,
        evaluate.Extras(
            references=against,
            outcomes=selection.outcomes(answers) if answers else {},
            retrieval=selection.retrieved(answers),
            drift=drifts(node.rows("drift")) if "drift" in node.inputs else {},
            judge=_judge_score(node, preferences.by_pair(people, TUNED, BASE)),
            adapter=node.read("adapter"),
            parity=node.read("parity"),
            notes=list(_retrieval(node)),
            search=against_retrieval.search(node),
            grading=grade.grading_of(node),
            unit=node.config.plugin("recipe").UNIT,
            costs=against_retrieval.costs(node),
            manuals=manuals.summary(
                node.rows("pairs"), [pair for pair, _ in rows], samples, contradictions(node), node.config.seed
            ),
        ),
    )
    pairs = [pair for pair, _ in rows]
    evidence = Evidence(
        card, losses(node), samples, pairs, cards(node), counts(node), node.read("parity"), against.train, people
    )
    node.save_text("report", html(evidence))
    return node.save([card])


def losses(node: Node) -> list[dict[str, float]]:
    """The rows of metrics.jsonl."""
    lines = (node.file("adapter") / "metrics.jsonl").read_text(encoding="utf-8").splitlines()
    return [json.loads(line) for line in lines]


def cards(node: Node) -> dict[str, Record]:
    """What is known of base, adapter, fused model and each file."""
    return {name: node.workspace.read(ref) for name, ref in _forms(node).items()}


def counts(node: Node) -> dict[str, int]:
    """Talks, pairs and rows, for the page."""
    pairs: list[Pair] = node.rows("pairs")
    return {
        "talks": len({pair.document_id for pair in pairs}),
        "pairs": len(pairs),
        "kept": sum(pair.kept for pair in pairs),
        **{split: node.ref(split).rows for split in ("train", "valid", "test")},
    }


def contradictions(node: Node) -> list[Contradiction]:
    """What is known to contradict each other in the manuals; the score makes none of the dataset again."""
    ref = node.workspace.latest("contradictions") if node.config.closed_book else None
    known: Contradictions | None = node.workspace.read(ref) if ref else None
    return known.contradictions if known else []


def metrics(config: Config) -> dict[str, Metric]:
    """The metrics of the preset, by name."""
    return {spec.use: config.plugin("metric", spec) for spec in config.evaluate.metrics}


def references(node: Node) -> References:
    """What answers are measured against: the train split's own, the held-out ones, and the talks of both."""
    train, held_out = [pair for pair, _ in node.train_rows()], [pair for pair, _ in node.held_out()]
    talks = dict.fromkeys(pair.document_id for pair in (*train, *held_out))
    return References(train=train, held_out=held_out, talks=Talks(node.workspace, list(talks)))


def _retrieval(node: Node) -> Iterator[str]:
    """How good the retriever is on the held-out questions, which is the same for base and tuned."""
    ref = node.workspace.latest("passages") if node.config.plugin("recipe").retrieves else None
    if ref is None:
        return
    index, options = Index(node.workspace.rows(ref)), node.config.plugin("recipe").options
    asked = [pair for pair, _ in node.held_out() if pair.kind == "grounded"]
    found = [[hit.passage.passage_id for hit in index.search(pair.question, options.max_rank)] for pair in asked]
    right = [{p.passage_id for p in index.passages if any(_answers(p, s) for s in pair.sources)} for pair in asked]
    if not asked:
        return
    result = quality(found, right, options.max_rank)
    yield (
        f"The retriever, over all {len(index.passages)} passages and {result.questions} held-out questions: a right "
        f"passage is among the first {options.max_rank} for {result.hit_rate:.0%}, mean reciprocal rank "
        f"{result.mean_reciprocal_rank:.2f}. It is the same for base and tuned, and in no difference above."
    )


def _answers(passage: Passage, source: PairSource) -> bool:
    """Whether a passage is of the paragraphs that an answer rests on."""
    first, last = source.first_paragraph, source.last_paragraph
    if passage.document_id != source.document_id or first is None:
        return passage.document_id == source.document_id
    return passage.first_paragraph <= (first if last is None else last) and passage.last_paragraph >= first


def _judge_score(node: Node, human: Mapping[str, Winner]) -> JudgeScore | None:
    """Wins, ties and losses, and how often `human` agrees (pair id > whom a person chose); None without a judge."""
    if "judgements" not in node.inputs:
        return None
    judge = node.config.plugin("teacher", node.config.evaluate.judge)
    teacher = node.held_out()[0][0].teacher
    return judging.score(node.rows("judgements"), judge.label, teacher, node.config.seed, human)


def _forms(node: Node) -> dict[str, AssetRef]:
    """Base, adapter, fused model and files, by the candidate's name."""
    forms = {name: node.ref(name) for name in ("base", "adapter", "fused")}
    first = PurePosixPath(node.ref("f16").path).stem.removeprefix(f"{node.config.name}-")
    quantized = {name.partition("/")[2]: ref for name, ref in node.known.items() if name.startswith("gguf/")}
    return forms | {first: node.ref("f16")} | quantized


def _sizes(node: Node) -> dict[str, int]:
    """Bytes of every candidate that is more than a way of asking."""
    bases = {f"base-{name.partition('/')[2]}": ref for name, ref in node.known.items() if name.startswith("base_file/")}
    return {name: ref.bytes for name, ref in (_forms(node) | bases).items()}
