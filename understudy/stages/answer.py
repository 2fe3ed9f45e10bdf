"""Stage `answer`: what one candidate makes of the held-out questions."""

import logging
import platform
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from understudy import registry, store
from understudy.graph import Graph, Node, Refs, Rows, engine_identity
from understudy.interfaces import Recipe
from understudy.records import WITH_PASSAGES, AssetRef, BaseCard, ChatExample, ParityReport, Sample
from understudy.retrieval.index import Index
from understudy.scoring.suites import conversations
from understudy.stages import against_retrieval
from understudy.stages.evaluate import BASE, PROMPTED, TUNED

VERSION = 6
METAL = sys.platform == "darwin" and platform.machine() == "arm64"
FILES_FROM_PARAMETERS = 20_000_000
"""Smaller bases answer through MLX everywhere: their processes take longer to start than to answer."""
EXACT = ("F32", "F16", "BF16")
log = logging.getLogger("understudy.score")


class Candidate(NamedTuple):
    """One column of the scorecard: a model, with an adapter where it needs one."""

    name: str
    inputs: dict[str, AssetRef]


class Forms(NamedTuple):
    """What answers as the base, as the adapter and as the fused model: folders for MLX, or files for llama.cpp."""

    base: dict[str, AssetRef]
    adapter: dict[str, AssetRef]
    fused: dict[str, AssetRef]


def forms(graph: Graph) -> Forms:
    """The forms that answer fastest on this machine; base and tuned are never read by two different engines.

    Without Metal, llama.cpp writes several times faster than MLX. The first file is the fused model to the last
    digit that F16 has, which the parity check measures, and the base becomes a file of the same type.
    """
    model = graph.model()
    base: BaseCard = graph.workspace.read(model.base)
    if not answers_by_file(base, graph.config.export.first):
        return Forms({"model": model.base}, {"model": model.base, "lora": model.adapter}, {"model": model.fused})
    first = {"model": model.files[graph.config.export.first]}
    return Forms({"model": graph.get("base_file", type=graph.config.export.first)}, first, first)


def answers_by_file(base: BaseCard, first: str) -> bool:
    """Whether base and tuned answer as files of the type `first` on this machine."""
    return not METAL and base.parameters >= FILES_FROM_PARAMETERS and not base.quantized and first in EXACT


def candidates(graph: Graph) -> Iterator[Candidate]:
    """Base, base with examples, adapter, fused model and every exported file."""
    model, form = graph.model(), forms(graph)
    yield Candidate(BASE, form.base)
    if graph.config.evaluate.prompted_base and prompted(graph):
        yield Candidate(PROMPTED, form.base)
    yield Candidate(TUNED, form.adapter)
    if graph.config.against_retrieval:
        index = {"passages": against_retrieval.passages(graph.workspace)}
        yield Candidate(WITH_PASSAGES[BASE], form.base | index)
        yield Candidate(WITH_PASSAGES[TUNED], form.adapter | index)
    yield Candidate("fused", form.fused)
    yield from (Candidate(kind, {"model": ref}) for kind, ref in model.files.items())


def quantized_base(graph: Graph, parity: ParityReport) -> Iterator[Candidate]:
    """The base at the type of the smallest file that is offered, where there can be one."""
    kind = parity.recommended
    if not graph.config.evaluate.quantized_base or kind is None:
        return
    if graph.workspace.read(graph.get("base")).quantized:
        log.warning("the base is quantized itself, so it is not compared with %s at the same type", kind)
        return
    yield Candidate(f"base-{kind}", {"model": graph.get("base_file", type=kind)})


def identity(graph: Graph, keys: dict[str, str], inputs: Refs) -> list[object]:
    """The engine and its limits; the examples, where they are shown."""
    name = engine_of(inputs["model"])
    shown: Any = None
    if keys["candidate"] == PROMPTED:
        shown = store.fingerprint([row.model_dump() for _, row in prompted(graph)])
    if keys["candidate"] in WITH_PASSAGES.values():
        shown = registry.identity("recipe", graph.config.recipe.use, graph.config.recipe.options)
    return [engine_identity(graph.config, name), shown]


def materialize(node: Node) -> AssetRef:
    """Samples of one candidate: the likelihood of every held-out answer, and its own answers."""
    for name in (TUNED, "fused"):  # adapter, fused model and first file may be one file: it is asked once
        same = node.workspace.fresh("samples", node.fingerprint, run=node.keys["run"], candidate=name)
        if same:
            return node.save(node.workspace.rows(same))
    settings = node.config.evaluate
    lora = node.file("lora") if "lora" in node.inputs else None
    rows = _rows(node)
    with node.track() as progress:
        samples = node.config.engine(
            engine_of(node.ref("model")), answer_cache=answer_cache(node, f"{node.config.name}/{node.keys['run']}")
        ).run(
            node.file("model"),
            lora,
            rows,
            answers=settings.questions,
            max_tokens=settings.max_tokens,
            progress=progress,
        )
    if node.keys["candidate"] == BASE:
        _warn_of_cut_answers(samples, settings.max_tokens)
    return node.save(samples)


def _rows(node: Node) -> Rows:
    """The held-out rows as this candidate is shown them."""
    candidate = node.keys["candidate"]
    if candidate == PROMPTED:
        return prompted(node)
    if candidate not in WITH_PASSAGES.values():
        return node.held_out()
    recipe: Recipe = node.config.plugin("recipe")
    index = Index(node.rows("passages"))
    shown = [
        recipe.prompt(pair.question, [hit.passage for hit in index.search(pair.question, recipe.options.per_question)])
        for pair, _ in node.held_out()
    ]
    return [
        (pair, ChatExample(messages=[*prompt, row.messages[-1]]))
        for (pair, row), prompt in zip(node.held_out(), shown, strict=True)
    ]


def _warn_of_cut_answers(samples: Sequence[Sample], max_tokens: int) -> None:
    """Say before the others answer that a teacher's answers would not fit the limit either."""
    longer = [sample.tokens for sample in samples if sample.tokens > max_tokens]
    if len(longer) > 0.05 * len(samples):
        log.warning(
            "evaluate.max_tokens is %d, and %d of the teacher's own %d held-out answers are longer: answers will be "
            "cut; %d would do",
            max_tokens, len(longer), len(samples), max(longer),
        )  # fmt: skip


def engine_of(model: AssetRef) -> str:
    """The engine that runs a model file or folder."""
    return "llama_cpp" if model.path.endswith(".gguf") else "mlx"


def answer_cache(node: Node, place: str) -> Path:
    """The file of every answer these weights have generated, under models/`place`."""
    digest = "-".join(node.inputs[name].sha256[:12] for name in ("model", "lora") if name in node.inputs)
    return node.workspace.home / "models" / place / "answer_cache" / f"{digest}.jsonl"


def prompted(run: Graph | Node) -> Rows:
    """The held-out rows after style prompt and examples; [] where every talk is held out."""
    rows = run.held_out()
    held_out = {pair.document_id for pair, _ in rows}
    train = [row for row in run.train_rows() if row[0].document_id not in held_out]
    if not train:
        log.warning("every talk is held out, so there is no example to show the base: it answers without")
        return []
    return conversations.prompted_rows(rows, train, run.config.seed)
