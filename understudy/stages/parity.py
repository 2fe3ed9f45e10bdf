"""
Stage `parity`: whether each file is the model that was trained.

The chain is adapter > fused > first file > each quantization. Every check is measured over the same held-out
answers (likelihood, divergence, top-1 agreement), and every candidate's own answers are read: whether
they end by themselves about as often as the adapter's, and whether control tokens leak into them. A file over
a limit is refused with the number and the limit; it stays on disk and is not offered.
"""

import re
from collections.abc import Mapping, Sequence
from statistics import median

from understudy import registry
from understudy.errors import DatasetError, ExportError
from understudy.graph import Graph, Node, Refs, engine_identity
from understudy.interfaces import Candidate, Compare, Compared, Progress
from understudy.records import AssetRef, ChatExample, Interval, Pair, ParityCheck, ParityReport, Sample, Stopping
from understudy.scoring.statistics import in_turn, mcnemar, ratio_interval, wilson
from understudy.sections import LimitSettings, ParityLimit
from understudy.stages.answer import answers_by_file

VERSION = 1

ENOUGH_TOKENS, ENOUGH_ON_A_CPU = 12_000, 1_200
"""Answer tokens that are compared: KL differs by hundreds of times between a right and a wrong conversion."""
"""Answer tokens that are compared at most. Half of them suffice for a verdict."""

LEAKS = {
    "think_tags": re.compile(r"</?think", re.IGNORECASE),
    "role_headers": re.compile(r"^[ \t]*(?:system|user|assistant|model)[ \t]*:?[ \t]*$", re.IGNORECASE | re.MULTILINE),
    "control_tokens": re.compile(r"<\||\|>|</?s>|\[/?INST\]|<(?:start|end)_of_turn>|<(?:bos|eos|pad)>"),
}

Rows = Sequence[tuple[Pair, ChatExample]]


def inputs(graph: Graph, samples: Refs) -> Refs:
    """What is compared, and the answers that show how each of them ends: adapter, fused model and files."""
    files = graph.model().files
    answers = {f"sample/{name}": samples[name] for name in ("adapter", "fused", *files)}
    return {f"file/{kind}": ref for kind, ref in files.items()} | answers


def identity(graph: Graph, keys: dict[str, str], inputs: Refs) -> list[object]:
    """The limits, and the engines that measure."""
    engines = [engine_identity(graph.config, name) for name in ("mlx", "llama_cpp")]
    return [graph.config.export.limits.model_dump(mode="json"), *engines]


def materialize(node: Node) -> AssetRef:
    """Which files are refused, by likelihood, divergence and how their answers end."""
    base, adapter, files = node.file("base"), node.file("adapter"), node.group("file")
    sizes = {"adapter": node.ref("adapter"), "fused": node.ref("fused")} | files
    with node.track() as progress:
        report = check(
            node.config.name,
            node.keys["run"],
            [
                Candidate("adapter", "mlx", base, adapter),
                Candidate("fused", "mlx", node.file("fused")),
                *(Candidate(kind, "llama_cpp", node.workspace.file(ref)) for kind, ref in files.items()),
            ],
            {name: ref.bytes for name, ref in sizes.items()},
            node.held_out(),
            {name: node.workspace.rows(ref) for name, ref in node.group("sample").items()},
            node.config.export.limits,
            node.config.evaluate.max_tokens,
            registry.compare(),
            node.config.seed,
            progress,
            ENOUGH_ON_A_CPU if answers_by_file(node.read("base"), node.config.export.first) else ENOUGH_TOKENS,
        )
    return node.save([report])


def check(
    channel: str,
    run: str,
    candidates: Sequence[Candidate],
    sizes: Mapping[str, int],
    rows: Rows,
    samples: Mapping[str, Sequence[Sample]],
    limits: LimitSettings,
    max_tokens: int,
    compare: Compare,
    seed: int,
    progress: Progress,
    most_tokens: int = ENOUGH_TOKENS,
) -> ParityReport:
    """Every check of a run, in order: adapter, fused, the first file, what was made of it.

    `sizes` maps candidate > bytes on disk, `samples` candidate > its samples of `rows`. Raises DatasetError
    without held-out rows, WorkerFailed when a worker dies.
    """
    if not rows:
        raise DatasetError("there is no held-out pair to check the files with; make the test or the valid split larger")
    drawn = spread(rows, {sample.pair_id: sample.tokens for sample in samples[candidates[0].name]}, most_tokens)
    trained = samples[candidates[0].name]
    checks: list[ParityCheck] = []
    for place, candidate in enumerate(candidates):
        progress(place, len(candidates), candidate.name)
        check = _speed(candidate.name, sizes[candidate.name], samples[candidate.name])
        check = check.model_copy(update={"stopping": stopping(samples[candidate.name], max_tokens)})
        why: list[str] = []
        if place:
            reference = candidates[min(place - 1, 2)]
            limit = limit_of(candidate.name, limits)
            check, why = _measured(check, reference, candidate, drawn, limit, compare, seed)
            why += _of_reference(checks[min(place - 1, 2)])
        why += stopping_reasons(samples[candidate.name], trained, max_tokens, limits)
        checks.append(check.model_copy(update={"refused": "; ".join(why) or None}))
    progress(len(candidates), len(candidates), "")
    offered = [check for check in checks[2:] if not check.refused]
    best = min(offered, key=lambda check: check.bytes).name if offered else None
    return ParityReport(channel=channel, run=run, checks=checks, recommended=best, notes=_notes(checks, drawn, rows))


def spread(rows: Rows, tokens: Mapping[str, int], most: int = ENOUGH_TOKENS) -> list[tuple[Pair, ChatExample]]:
    """Rows of up to `most` answer tokens, one of each talk in turn, so that many talks are among them."""
    drawn: list[tuple[Pair, ChatExample]] = []
    total = 0
    for place in in_turn([pair.document_id for pair, _ in rows]):
        total += tokens[rows[place][0].pair_id]
        if drawn and total > most:
            break
        drawn.append(rows[place])
    return drawn


def limit_of(type: str, limits: LimitSettings) -> ParityLimit:
    """The limits for a type, by its class: Q4_K_M and IQ4_XS are 'q4', F16 and BF16 'f16'."""
    if type == "fused" or "F16" in type or type == "F32":
        return limits.fused if type == "fused" else limits.f16
    bits = re.search(r"Q(\d)", type)
    name = f"q{bits[1]}" if bits else "q2"
    return getattr(limits, name, limits.q2)


def stopping(samples: Sequence[Sample], max_tokens: int) -> Stopping | None:
    """How the answers end and what leaks into them; None without answers."""
    texts = [sample.text for sample in samples if sample.text is not None]
    if not texts:
        return None
    judged = [_ended(sample) for sample in _judged(samples, max_tokens)]
    leaks = {kind: sum(bool(pattern.search(text)) for text in texts) for kind, pattern in LEAKS.items()}
    return Stopping(
        answers=len(texts),
        limit_tokens=max_tokens,
        ended=wilson(sum(judged), len(judged)) if judged else None,
        empty=wilson(sum(not text.strip() for text in texts), len(texts)),
        **{kind: wilson(count, len(texts)) for kind, count in leaks.items()},
    )


def stopping_reasons(
    samples: Sequence[Sample], trained: Sequence[Sample], max_tokens: int, limits: LimitSettings
) -> list[str]:
    """Why these answers may not be published: they do not end, or show what only the template may write."""
    stops = stopping(samples, max_tokens)
    if stops is None:
        return []
    why = []
    for kind in LEAKS:
        share: Interval = getattr(stops, kind)
        if share.value > limits.leaks:
            count = round(share.value * stops.answers)
            allowed = f"allowed {limits.leaks:.0%}, true share up to {share.high:.0%}"
            why.append(f"{count} of {stops.answers} answers hold {kind.replace('_', ' ')} ({allowed})")
    if stops.ended is not None and stops.ended.value == 0:
        why.append(f"never stops by itself: 0 of {stops.ended.n} answers ended within {max_tokens} tokens")
        return why
    before = {sample.pair_id: _ended(sample) for sample in _judged(trained, max_tokens)}
    both = [sample for sample in _judged(samples, max_tokens) if sample.pair_id in before]
    now, then = [_ended(sample) for sample in both], [before[sample.pair_id] for sample in both]
    drop = (sum(then) - sum(now)) / len(both) if both else 0.0
    # Not by the interval over talks: with few talks no fault would ever be wide enough to refuse a file.
    if drop > limits.ended_drop and mcnemar(now, then) < 0.05:
        allowed = f"allowed {limits.ended_drop:.0%}"
        why.append(f"{drop:.0%} fewer answers end by themselves than of the adapter ({allowed})")
    return why


def reasons(check: ParityCheck, limit: ParityLimit) -> list[str]:
    """Which numbers of a measured check are over which limit."""
    assert check.nll_change and check.kl and check.top1_agreement
    why = []
    if abs(check.nll_change.value) > limit.nll_change:
        why.append(f"loss changes by {check.nll_change.value:+.4f} nats per token (allowed {limit.nll_change:g})")
    if check.kl.value > limit.kl:
        why.append(f"KL divergence {check.kl.value:.4f} per token (allowed {limit.kl:g})")
    if check.top1_agreement.value < limit.top1_agreement:
        why.append(f"top-1 agreement {check.top1_agreement.value:.1%} (at least {limit.top1_agreement:.0%})")
    return [f"against {check.reference}: {one}" for one in why]


def _measured(
    check: ParityCheck,
    reference: Candidate,
    candidate: Candidate,
    rows: Rows,
    limit: ParityLimit,
    compare: Compare,
    seed: int,
) -> tuple[ParityCheck, list[str]]:
    allowed = {"reference": reference.name, "limits": limit.model_dump()}
    try:
        compared = compare(reference, candidate, rows, lambda done, total, note="": None)
    except ExportError as error:
        return check.model_copy(update=allowed), [str(error)]
    measured = check.model_copy(update=allowed | _intervals(compared, rows, seed))
    return measured, reasons(measured, limit)


def _intervals(compared: Compared, rows: Rows, seed: int) -> dict[str, object]:
    talks, tokens = [pair.document_id for pair, _ in rows], [row.tokens for row in compared.rows]

    def per_token(values: Sequence[float], bounds: tuple[float, float] | None = None) -> Interval:
        return ratio_interval(values, tokens, talks, seed, bounds=bounds)

    return {
        "rows": len(compared.rows),
        "tokens": sum(tokens),
        "nll_change": per_token([row.nll - row.reference_nll for row in compared.rows]),
        "kl": per_token([row.kl for row in compared.rows], (0.0, float("inf"))),
        "top1_agreement": per_token([row.top1_agreement for row in compared.rows], (0.0, 1.0)),
        "kl_exact": compared.exact,
    }


def _speed(name: str, size: int, samples: Sequence[Sample]) -> ParityCheck:
    timed = [s for s in samples if s.seconds is not None and s.prompt_seconds is not None and s.new_tokens]
    writing = sum((s.seconds or 0) - (s.prompt_seconds or 0) for s in timed)
    reading = sum(s.prompt_seconds or 0 for s in timed)
    return ParityCheck(
        name=name,
        reference=None,
        bytes=size,
        tokens_per_second=sum(s.new_tokens or 0 for s in timed) / writing if writing > 0 else None,
        prompt_tokens_per_second=sum(s.prompt_tokens or 0 for s in timed) / reading if reading > 0 else None,
        first_token_seconds=median(s.first_token_seconds or 0 for s in timed) if timed else None,
        peak_memory_bytes=max((s.peak_memory_bytes or 0 for s in timed), default=0) or None,
    )


def _judged(samples: Sequence[Sample], max_tokens: int) -> list[Sample]:
    """The samples whose reference answer fits the limit: only there can an answer be expected to end."""
    return [sample for sample in samples if sample.text is not None and sample.tokens <= max_tokens]


def _ended(sample: Sample) -> bool:
    return bool(sample.stopped) and bool((sample.text or "").strip())


def _of_reference(check: ParityCheck) -> list[str]:
    return [f"made of {check.name}, which is refused"] if check.refused else []


def _notes(checks: Sequence[ParityCheck], drawn: Rows, rows: Rows) -> list[str]:
    notes = []
    if len(drawn) < len(rows):
        notes.append(f"Compared on {len(drawn)} of {len(rows)} held-out pairs, spread over the talks.")
    if any(not check.kl_exact for check in checks):
        notes.append("The two models do not fit into memory together: KL is a lower bound, from 256 tokens a place.")
    if all(check.stopping is None for check in checks):
        notes.append("No candidate generated an answer, so how answers end is unknown.")
    elif any(check.stopping and check.stopping.ended is None for check in checks):
        notes.append("Every reference answer is longer than the token limit, so stopping could not be judged.")
    if any(check.stopping and check.stopping.control_tokens.value for check in checks[:1]):
        notes.append("The adapter itself leaks control tokens: look at the training data before the export.")
    return notes
