"""Stage `measure_drift`: how far the adapter is from the base, on general prompts and on its own answers."""

from typing import Any

from understudy import registry
from understudy.graph import Graph, Node, Refs
from understudy.records import AssetRef, Drift, Message, Sample, SuiteAnswers
from understudy.scoring.suites import conversations
from understudy.scoring.suites.selection import Selection

VERSION = 6


def identity(graph: Graph, keys: dict[str, str], inputs: Refs) -> Any:
    """The engine that measures."""
    return registry.identity("engine", "mlx", {})


def materialize(node: Node) -> AssetRef:
    """KL(tuned || base) on the base's answers to general prompts and on the adapter's own to held-out questions."""
    general: SuiteAnswers = node.read("suites/base")
    samples: list[Sample] = node.rows("samples/adapter")
    answers = [
        ("general", prompt.id, prompt.conversation, general.answers[prompt.id])
        for prompt in Selection(node.config.evaluate).prompts
    ]
    answers += [
        ("domain", sample.document_id, conversations.question(row), sample.text or "")
        for sample, (_, row) in zip(samples, node.held_out(), strict=True)
    ]
    # An empty answer has nothing but its end token to differ in, and a base that says nothing says it always.
    answers = [answer for answer in answers if answer[3].strip()]
    with node.track() as progress:
        divergences = node.config.engine("mlx").divergence(
            node.file("base"),
            node.file("adapter"),
            [[*conversation, Message(role="assistant", content=text)] for _, _, conversation, text in answers],
            progress,
        )
    return node.save(
        [
            Drift(kind=kind, name=name, divergence=divergence)
            for (kind, name, _, _), divergence in zip(answers, divergences, strict=True)
        ]
    )
