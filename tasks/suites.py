"""Tasks of forgetting: what base and adapter say to the suites, and how far apart they are."""

from collections.abc import Iterator, Sequence
from functools import cache
from pathlib import Path
from typing import Any

from prefect import task
from prefect.utilities.annotations import quote
from understudy.tasks import policies
from understudy.tasks.candidates import Rows, answer_cache

from understudy import registry, store
from understudy.progress import track
from understudy.records import AssetRef, Divergence, Drift, Message, ModelRefs, Record, Sample, SuiteAnswers
from understudy.scoring import suites
from understudy.scoring.suites import conversations, retrieval
from understudy.stages.evaluate import BASE, TUNED, Outcomes
from understudy.workspace import Workspace

QUICK = 4
"""The quick suites are every fourth item."""


def measured(workspace: Workspace, model: ModelRefs, samples: dict[str, AssetRef], rows: Rows) -> dict[str, AssetRef]:
    """What base and adapter said to the suites, and their drift; {} where the preset wants none."""
    wanted = workspace.config.evaluate
    if not wanted.suites and not wanted.retrieval:
        return {}
    weights = {
        BASE: (f"bases/{Path(model.base.path).name}.scoring", None),
        TUNED: (f"{workspace.config.name}/{model.run}", model.adapter),
    }
    found = {
        name: policies.made(
            ask,
            "suites",
            workspace,
            [model.base, *([adapter] if adapter else [])],
            [registry.identity("engine", "mlx", {}), _digest(workspace, marks=False), wanted.max_tokens],
            {"place": place},
            candidate=name,
            model=model.base,
            adapter=adapter,
        )
        for name, (place, adapter) in weights.items()
    }
    found["drift"] = policies.made(
        drift,
        "drift",
        workspace,
        [model.base, model.adapter, found[BASE], samples[TUNED]],
        registry.identity("engine", "mlx", {}),
        {"run": model.run},
        model=model,
        base_said=found[BASE],
        tuned_said=samples[TUNED],
        rows=quote(rows),
    )
    return found


def identity(workspace: Workspace) -> str | None:
    """What decides how the answers are marked; None where nothing is asked."""
    wanted = workspace.config.evaluate
    return _digest(workspace, marks=True) if wanted.suites or wanted.retrieval else None


@task(name="ask-suites", **policies.ASSET)
def ask(
    workspace: Workspace, made_from: str, place: str, candidate: str, model: AssetRef, adapter: AssetRef | None
) -> AssetRef:
    """What one model says to every prompt, and how likely it finds each answer of every question."""
    if found := policies.ready("suites", workspace, made_from, {"place": place}):
        return found
    prompts, choices, given = _prompts(workspace), _choices(workspace), _given(workspace)
    files = workspace.file(model), workspace.file(adapter) if adapter else None
    engine = workspace.engine("mlx", answer_cache=answer_cache(workspace, place, model, adapter))
    with track(f"suites {candidate}") as progress:
        said = engine.complete(*files, [prompt.conversation for prompt in prompts], suites.MAX_TOKENS, progress)
        texts = engine.complete(
            *files, [retrieval.conversation(item) for item in given], workspace.config.evaluate.max_tokens, progress
        )
        log_p = engine.likelihoods(*files, [(choice.conversation, choice.answers) for choice in choices], progress)
    answers = SuiteAnswers(
        answers={prompt.id: one.text for prompt, one in zip(prompts, said, strict=True)},
        retrieved={item.item_id: one.text for item, one in zip(given, texts, strict=True)},
        log_p={choice.id: one for choice, one in zip(choices, log_p, strict=True)},
    )
    return workspace.save("suites", [answers], made_from, place=place)


@task(name="measure-drift", **policies.ASSET)
def drift(
    workspace: Workspace,
    made_from: str,
    run: str,
    model: ModelRefs,
    base_said: AssetRef,
    tuned_said: AssetRef,
    rows: Rows,
) -> AssetRef:
    """How far the adapter strays from the base: on the base's answers to general prompts, on its own to questions."""
    if found := policies.ready("drift", workspace, made_from, {"run": run}):
        return found
    said: SuiteAnswers = workspace.read(base_said)
    own: list[Sample] = workspace.rows(tuned_said)
    answered = [("general", p.id, p.conversation, said.answers[p.id]) for p in _prompts(workspace)]
    answered += [
        ("domain", s.document_id, conversations.question(row), s.text or "")
        for s, (_, row) in zip(own, rows, strict=True)
    ]
    # An empty answer has nothing but its end token to differ in, and a base that says nothing says it always.
    heard = [one for one in answered if one[3].strip()]
    with track("drift") as progress:
        apart = workspace.engine("mlx").divergence(
            workspace.file(model.base),
            workspace.file(model.adapter),
            [[*asked, Message(role="assistant", content=text)] for _, _, asked, text in heard],
            progress,
        )
    found_out = [
        Drift(kind=kind, name=name, divergence=one) for (kind, name, _, _), one in zip(heard, apart, strict=True)
    ]
    return workspace.save("drift", found_out, made_from, run=run)


def outcomes(workspace: Workspace, found: dict[str, AssetRef]) -> dict[str, dict[str, Outcomes]]:
    """Suite > candidate > item > passed."""
    said: dict[str, SuiteAnswers] = {name: workspace.read(found[name]) for name in (BASE, TUNED) if name in found}
    told: dict[str, dict[str, Outcomes]] = {}
    for name, answers in said.items():
        marks = {
            "instructions": suites.passed(_few(workspace, suites.instructions()), answers.answers),
            "off_topic": suites.passed(_few(workspace, suites.off_topic()), answers.answers),
            "choices": suites.chosen(_choices(workspace), answers.log_p),
        }
        for suite, passed in marks.items():
            told.setdefault(suite, {})[name] = passed
    return told


def retrieved(workspace: Workspace, found: dict[str, AssetRef]) -> dict[str, dict[str, retrieval.Outcome]]:
    """Candidate > item > what its answer from the given texts did; {} where no items are given."""
    items = _given(workspace)
    said: dict[str, SuiteAnswers] = {name: workspace.read(found[name]) for name in (BASE, TUNED) if name in found}
    return {
        name: {item.item_id: retrieval.outcome(item, told.retrieved[item.item_id]) for item in items}
        for name, told in said.items()
        if items
    }


def drifts(workspace: Workspace, found: dict[str, AssetRef]) -> dict[str, list[tuple[str, Divergence]]]:
    """'general', 'domain' > what each answer shows; {} where nothing was measured."""
    rows: list[Drift] = workspace.rows(found["drift"]) if "drift" in found else []
    return {
        kind: told
        for kind in ("general", "domain")
        if (told := [(row.name, row.divergence) for row in rows if row.kind == kind])
    }


def _few(workspace: Workspace, items: Sequence[Any]) -> Sequence[Any]:
    if not workspace.config.evaluate.suites:
        return ()
    return items[::QUICK] if workspace.config.evaluate.suites == "quick" else items


def _given(workspace: Workspace) -> list[retrieval.RetrievalItem]:
    return retrieval.load(file) if (file := workspace.config.evaluate.retrieval) else []


def _prompts(workspace: Workspace) -> list[suites.Prompt]:
    return [*_few(workspace, suites.instructions()), *_few(workspace, suites.off_topic())]


def _choices(workspace: Workspace) -> Sequence[suites.Choice]:
    return _few(workspace, suites.choices())


def _digest(workspace: Workspace, marks: bool) -> str:
    """What is asked; with `marks` also what counts as right."""
    given = [
        [item.item_id, item.model_dump(mode="json") if marks else retrieval.conversation(item)[0].content]
        for item in _given(workspace)
    ]
    wanted = workspace.config.evaluate.suites
    return store.fingerprint(_digest_of(wanted == "quick", marks) if wanted else None, given)


@cache
def _digest_of(quick: bool, marks: bool) -> str:
    step = QUICK if quick else 1

    def plain(items: Sequence[Record]) -> Iterator[Any]:
        for item in items[::step]:
            yield item.model_dump(mode="json", exclude=None if marks else {"checks"})

    asked = (suites.instructions(), suites.off_topic(), suites.choices())
    return store.fingerprint(suites.MAX_TOKENS, [list(plain(items)) for items in asked])
