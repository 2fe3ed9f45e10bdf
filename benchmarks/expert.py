"""
From manuals to an expert: 5 MB through the loopback teacher, the price before and after, planted knowledge found.

`planted` knowledge: the tuned model is given what a split can tell (facts it was trained on, or a rule that holds for
all sections), and the scorecard must say which of the two it has. Once with simulated answers, and once with tiny
models that are really trained on half of the facts.
"""

import json
import os
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from benchmarks._manual_teacher import MODEL, manual
from benchmarks.figures import Figure
from understudy.config import Config, load
from understudy.records import BasisScore, Pair, PairSource, Sample, Scorecard, Split, SplitPlan
from understudy.runs import teachers
from understudy.scoring.arms import by_basis
from understudy.stages import estimate
from understudy.stages.estimate_page import talks_of
from understudy.text.similarity import near_duplicates
from understudy.workspace import Workspace

ROOT = Path(__file__).resolve().parents[1]
SECTIONS, SECONDS, AT_ONCE = 1020, 0.5, 20
MAIN = [sys.executable, str(ROOT / "flows" / "main.py")]
PRICE = {"input": 0.4, "output": 1.6}
"""USD per million tokens; a server on this machine costs nothing else."""
SEEDS, TRAININGS = 100, 5
TINY: dict[str, Any] = {
    "base": {"use": "scratch", "steps": 60, "layers": 2, "vocabulary": 600, "context": 512},
    "trainer": {"use": "mlx_lora", "epochs": 12, "learning_rate": 0.003, "rank": 32, "evaluations_per_epoch": 1},
    "split": {"valid": 0.05, "test": 0.4, "questions": 0.2},
    "recipe.across": {"sections": 0, "documents": 0},
    "export.types": [],
    "evaluate": {"questions": 4, "max_tokens": 8, "suites": False, "prompted_base": False, "quantized_base": False},
}
FEW = 0.15
"""Share of right answers that a model gives by chance."""


class Planted(NamedTuple):
    """How often the tuned model is right, by what was held out."""

    recall: float
    generalization: float


PLANTED = {
    "nothing": Planted(FEW, FEW),
    "recall": Planted(0.7, FEW),
    "both": Planted(0.7, 0.6),
}


def figures() -> Iterator[Figure]:
    """Every figure of the group; takes about fifteen minutes."""
    yield from _simulated()
    with tempfile.TemporaryDirectory(prefix="understudy-bench-") as folder, _server(SECONDS) as url:
        yield from _five_megabytes(Path(folder), url)
    with tempfile.TemporaryDirectory(prefix="understudy-bench-") as folder, _server(0.0) as url:
        yield from _overlap(Path(folder), url)
        yield from _trained(Path(folder), url)


@contextmanager
def _server(seconds: float) -> Iterator[str]:
    command = [sys.executable, "-m", "benchmarks._manual_teacher", str(seconds)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=ROOT)
    assert process.stdout
    try:
        yield process.stdout.readline().strip()
    finally:
        process.kill()
        process.wait()


def _five_megabytes(folder: Path, url: str) -> Iterator[Figure]:
    """Wall time over the ideal, memory, the estimate against what was paid, and what one changed section costs."""
    texts = folder / "manuals"
    texts.mkdir()
    (texts / "works.md").write_text(manual(4), encoding="utf-8")
    few = _dataset(folder / "few", texts, url)
    (texts / "works.md").write_text(manual(SECTIONS), encoding="utf-8")
    workspace = _workspace(folder / "home", texts, url)
    estimated = _estimated(workspace)
    done = _dataset(folder / "home", texts, url)
    paid = {total.kind: total for total in teachers.paid(workspace)}
    calls = sum(total.calls for total in paid.values())
    ideal = calls * SECONDS / AT_ONCE
    before = {kind: row for kind, row in estimated.items() if kind in paid}  # no two of these sections are alike
    yield Figure("megabytes", (texts / "works.md").stat().st_size / 1e6)
    yield Figure("calls", calls)
    yield Figure("pairs", done.result["counts"]["pairs"])
    yield Figure("ideal_seconds", ideal)
    yield Figure("seconds", done.seconds)
    yield Figure("seconds_without_those_of_a_small_manual", done.seconds - few.seconds)
    yield Figure("times_the_ideal", (done.seconds - few.seconds) / ideal, "<=", 1.2)
    yield Figure("memory_mb_above_a_small_manual", done.peak_mb - few.peak_mb, "<=", 300)
    within = [kind for kind, row in before.items() if row.low_usd <= paid[kind].usd <= row.high_usd]
    yield Figure("roles_estimated", len(before))
    yield Figure("roles_within_their_low_and_high", len(within), "=", len(before))
    low, high = sum(row.low_usd for row in before.values()), sum(row.high_usd for row in before.values())
    usd = sum(total.usd for total in paid.values())
    yield Figure("paid_usd", usd)
    yield Figure("middle_of_the_estimate_over_paid", (low + high) / 2 / usd)
    yield Figure("estimate_off_by_percent", 100 * abs((low + high) / 2 / usd - 1), "<=", 25)
    (texts / "works.md").write_text(manual(SECTIONS, changed=SECTIONS // 2), encoding="utf-8")
    _dataset(folder / "home", texts, url)
    after = {total.kind: total.calls for total in teachers.paid(workspace)}
    for kind in ("questions", "answers"):
        yield Figure(f"calls_of_a_changed_section_{kind}", after[kind] - paid[kind].calls, "=", 1)
    others = sum(after.values()) - calls - 2
    yield Figure("calls_of_a_changed_section_over_two_and_verdicts", others, "<=", 8)


def _overlap(folder: Path, url: str) -> Iterator[Figure]:
    """Cut at 800 characters with an overlap of 100: no question twice."""
    texts = folder / "manuals"
    texts.mkdir()
    (texts / "works.md").write_text(manual(40), encoding="utf-8")
    cut = ["--set", "recipe.read={by: chars, chars: 800, overlap: 100}"]
    _dataset(folder / "chars", texts, url, *cut)
    workspace = _workspace(folder / "chars", texts, url)
    kept = _pairs(workspace)
    yield Figure("pairs_at_800_characters", len(kept))
    twice = sum(count > 1 for count in Counter(pair.question for pair in kept).values())
    alike = sum(1 for _ in near_duplicates([pair.question for pair in kept], 0.9))
    yield Figure("questions_doubled_by_overlap", twice + alike, "=", 0)


class Run(NamedTuple):
    """One run of the pipeline."""

    seconds: float
    peak_mb: float
    result: dict[str, Any]


def _changes(texts: Path, url: str) -> dict[str, Any]:
    asked = {"use": "openai", "model": MODEL, "base_url": url, "concurrency": AT_ONCE, "price": PRICE}
    return {
        "permission": "owned",
        "source.path": str(texts),
        "teacher": asked,
        "verify": asked | {"fraction": 0.5},
        "gates": ["length", "duplicates"],  # answers of one template are boilerplate, and rightly refused as such
        "runner": {"workers": 2 * AT_ONCE},
    }


def _workspace(home: Path, texts: Path, url: str) -> Workspace:
    return Workspace(home=home, config=_config(texts, url))


def _config(texts: Path, url: str, more: dict[str, Any] | None = None) -> Config:
    return load(ROOT / "deployments/presets/expert.yaml", _changes(texts, url) | (more or {}))


def _dataset(home: Path, texts: Path, url: str, *flags: str) -> Run:
    return _run(home, texts, url, "--only", "dataset", *flags)


def _run(home: Path, texts: Path, url: str, *flags: str) -> Run:
    """A run by the command line, in processes of its own; its peak of memory is that of the largest of them."""
    settings = [word for key, value in _changes(texts, url).items() for word in ("--set", f"{key}={json.dumps(value)}")]
    command = [*MAIN, "--home", str(home), "--preset", "expert", "--json", *settings, *flags]
    began = time.perf_counter()
    program = (
        "import json, resource, subprocess, sys; done = subprocess.run(sys.argv[1:], capture_output=True, text=True); "
        "sys.stderr.write(done.stderr[-3000:]) if done.returncode else None; "
        "print(json.dumps([done.returncode, resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss, done.stdout]))"
    )
    done = subprocess.run([sys.executable, "-c", program, *command], capture_output=True, text=True, env=_environment())
    code, kilobytes, output = json.loads(done.stdout)
    if code:
        raise SystemExit(f"the run in {home} ended with {code}:\n{done.stderr[-3000:]}")
    return Run(time.perf_counter() - began, kilobytes / 1024, json.loads(output.splitlines()[-1]))


def _environment() -> dict[str, str]:
    return os.environ | {"OPENAI_API_KEY": "any", "DO_NOT_TRACK": "1"}


def _estimated(workspace: Workspace) -> dict[str, estimate.Row]:
    """What each role is expected to cost, before anything is asked."""
    talks, settings = talks_of(workspace).talks, workspace.config.questions
    teacher = workspace.config.plugin("teacher")
    usual = estimate.usual_of(workspace.folder, teacher, workspace.config.plugin("recipe").TOKENS)
    rows = estimate.estimate(teacher, talks, settings, usual=usual)
    return {row.kind: row for row in (*rows, *estimate.others(workspace, talks))}


def _pairs(workspace: Workspace) -> list[Pair]:
    ref = workspace.latest("pairs")
    assert ref
    return [pair for pair in workspace.rows(ref) if pair.kept]


def _simulated() -> Iterator[Figure]:
    """Scorecards of simulated answers: which of recall and generalization they say the tuned model has."""
    for name, effect in PLANTED.items():
        right = sum(_named(_card(effect, seed)) == name for seed in range(SEEDS))
        yield Figure(f"planted_{name}_named_rightly_of_{SEEDS}", right, ">=", 95)


def _named(scores: list[BasisScore]) -> str:
    better = {score.basis: score.differences["correct"].low > 0 for score in scores}
    return {(True, False): "recall", (True, True): "both", (False, False): "nothing"}.get(
        (better["question"], better["section"]), "generalization alone"
    )


def _card(effect: Planted, seed: int, sections: int = 24, each: int = 5) -> list[BasisScore]:
    """Questions of so many held-out sections, and as many unseen ones about trained sections."""
    rng = np.random.default_rng(seed)
    pairs = [_pair(f"{basis}{at // each}", at) for basis in ("s", "q") for at in range(sections * each)]
    recall = [pair.pair_id for pair in pairs if pair.document_id.startswith("q")]
    splits: dict[Split, list[str]] = {"train": [], "valid": [], "test": [pair.pair_id for pair in pairs]}
    plan = SplitPlan.model_construct(splits=splits, recall=recall)
    samples = {"base": [], "adapter": []}
    ease = {pair.document_id: rng.normal(0, 0.1) for pair in pairs}
    for pair in pairs:
        share = effect.recall if pair.pair_id in recall else effect.generalization
        for candidate, right in (("base", FEW), ("adapter", share)):
            samples[candidate].append(_sample(pair, rng.random() < right + ease[pair.document_id]))
    return by_basis(pairs, plan, samples, seed)


def _pair(section: str, at: int) -> Pair:
    number = 100 + at
    return Pair(
        pair_id=f"{section}#{at}", document_id=section, title=section, published=None, question_number=at + 1,
        question=f"How many litres does part {at} of {section} hold?", answer=f"It holds {number} litres.", tags=[],
        start_seconds=None, end_seconds=None, document_sha256="0", teacher="t", prompt_sha256=None, kept=True,
        gate=None, reason=None, sources=[PairSource(document_id=section, title=section)], keywords=[[str(number)]],
    )  # fmt: skip


def _sample(pair: Pair, right: bool) -> Sample:
    text = pair.answer if right else "It holds no litres that anybody knows of."
    return Sample(
        pair_id=pair.pair_id, document_id=pair.document_id, nll=30.0, tokens=12, text=text, new_tokens=12,
        stopped=True, seconds=1.0,
    )  # fmt: skip


def _trained(folder: Path, url: str) -> Iterator[Figure]:
    """Tiny models that learned what half of the sections say: their loss falls on these, and on others it does not."""
    texts, right = folder / "half", 0
    texts.mkdir()
    (texts / "works.md").write_text(manual(24, 900), encoding="utf-8")
    for seed in range(TRAININGS):
        home = folder / f"trained{seed}"
        settings = TINY | {"seed": seed}
        _run(
            home,
            texts,
            url,
            *(word for name, value in settings.items() for word in ("--set", f"{name}={json.dumps(value)}")),
        )
        [file] = (home / "models/manuals").glob("*/scorecard.json")
        card = Scorecard.model_validate_json(file.read_text(encoding="utf-8"))
        change = {score.basis: score.differences["nll_per_token"] for score in card.basis}
        yield Figure(f"training_{seed}_change_of_loss_on_trained_sections", change["question"].value)
        yield Figure(f"training_{seed}_change_of_loss_on_others", change["section"].value)
        right += change["question"].high < min(0.0, change["section"].low)
    yield Figure(f"tiny_trainings_named_rightly_of_{TRAININGS}", right, "=", TRAININGS)
