"""Stage `ask_suites`: the answers of a model to instructions, off-topic prompts, multiple choice and texts."""

from understudy import registry
from understudy.graph import Graph, Node, Refs
from understudy.records import AssetRef, SuiteAnswers
from understudy.scoring import suites
from understudy.scoring.suites import retrieval
from understudy.scoring.suites.selection import Selection
from understudy.stages.answer import answer_cache, engine_of, forms
from understudy.stages.evaluate import BASE, TUNED

VERSION = 6


def measure(graph: Graph) -> None:
    """Have base and adapter answer the suites, and their drift measured, where the preset wants that."""
    wanted = graph.config.evaluate
    if wanted.suites or wanted.retrieval:
        form = forms(graph)
        graph.get("suites", form.base, candidate=BASE)
        graph.get("suites", form.adapter, candidate=TUNED)
        graph.get("drift")


def identity(graph: Graph, keys: dict[str, str], inputs: Refs) -> list[object]:
    """The engine and the items; not what counts as right."""
    settings = graph.config.evaluate
    return [
        registry.identity("engine", engine_of(inputs["model"]), {}),
        Selection(settings).digest(marks=False),
        settings.max_tokens,
    ]


def materialize(node: Node) -> AssetRef:
    """The answers of one model to every prompt, and how likely it finds each answer of every question."""
    selection, max_tokens = Selection(node.config.evaluate), node.config.evaluate.max_tokens
    files = node.file("model"), node.file("lora") if "lora" in node.inputs else None
    engine = node.config.engine(engine_of(node.ref("model")), answer_cache=answer_cache(node, node.keys["place"]))
    with node.track() as progress:
        texts = engine.complete(*files, [one.conversation for one in selection.prompts], suites.MAX_TOKENS, progress)
        given = [retrieval.conversation(item) for item in selection.items]
        retrieved = engine.complete(*files, given, max_tokens, progress)
        choices = [(choice.conversation, choice.answers) for choice in selection.choices]
        log_p = engine.likelihoods(*files, choices, progress)
    answers = SuiteAnswers(
        answers={prompt.id: one.text for prompt, one in zip(selection.prompts, texts, strict=True)},
        retrieved={item.item_id: one.text for item, one in zip(selection.items, retrieved, strict=True)},
        log_p={choice.id: one for choice, one in zip(selection.choices, log_p, strict=True)},
    )
    return node.save([answers])
