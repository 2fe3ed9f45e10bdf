"""The process that holds the two models of a comparison."""

from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING, NamedTuple

from understudy.engines import Row
from understudy.engines.answer_cache import Conversation
from understudy.engines.comparison import Job
from understudy.errors import ExportError
from understudy.interfaces import Candidate, Progress, RowCompared
from understudy.text.tokenizer import for_mlx
from understudy.worker import serve

if TYPE_CHECKING:
    import numpy as np

PIECE_BYTES = 32 << 20
"""Float32 logits of one model that are looked at together; float64 copies of them take six times as much."""

REMEMBERED_TOKENS = 256
"""Most probable tokens of each position that are remembered when the models cannot be in memory together."""

TOKENS_AT_ONCE = 256
"""Tokens of a piece, where the vocabulary is small."""


LogitsAndIds = tuple["np.ndarray", "np.ndarray"]


class LoadedModel(NamedTuple):
    """A model in memory; it goes when this does."""

    name: str
    vocabulary: int
    pieces: Callable[[Row, int], Iterator["np.ndarray"]]
    """(row, tokens at once) > float32 logits [tokens, vocabulary] for its answer."""


class LogProbs(NamedTuple):
    """The reference's log p at some positions of an answer: of all tokens, or of the most probable ones."""

    log_p: "np.ndarray"
    """[positions, tokens known]"""
    ids: "np.ndarray | None"
    """[positions, tokens known]; None when all are."""
    chosen: "np.ndarray"
    """log p of the answer's own tokens."""
    top: "np.ndarray"


def run(job: Job, progress: Progress) -> list[RowCompared]:
    """One RowCompared per conversation. Raises ExportError that names the candidate."""
    try:
        rows = _tokens(job.reference, job.conversations)
        _require_same(rows, _tokens(job.candidate, job.conversations), job)
        return (_together if job.together else _one_after_the_other)(job, rows, progress)
    except ExportError as error:
        raise ExportError(f"{job.candidate.name}: {error}") from None


def _together(job: Job, rows: list[Row], progress: Progress) -> list[RowCompared]:
    reference, candidate = (_load(side, rows, job.threads) for side in (job.reference, job.candidate))
    size, compared = _at_once(reference), []
    for row in rows:
        known = (_log_probs(logits, ids, None) for logits, ids in _with_ids(reference, row, size))
        compared.append(_row(known, _with_ids(candidate, row, size), len(row[1])))
        progress(len(compared), len(rows), f"{reference.name} > {candidate.name}")
    return compared


def _one_after_the_other(job: Job, rows: list[Row], progress: Progress) -> list[RowCompared]:
    reference = _load(job.reference, rows, job.threads)
    size, remembered, compared = _at_once(reference), [], []
    for row in rows:
        remembered.append(
            [_log_probs(logits, ids, REMEMBERED_TOKENS) for logits, ids in _with_ids(reference, row, size)]
        )
        progress(len(remembered), 2 * len(rows), reference.name)
    del reference  # frees the reference's weights before the candidate's are read
    candidate = _load(job.candidate, rows, job.threads)
    for row, known in zip(rows, remembered, strict=True):
        compared.append(_row(known, _with_ids(candidate, row, size), len(row[1])))
        progress(len(rows) + len(compared), 2 * len(rows), candidate.name)
    return compared


def _row(reference: Iterable[LogProbs], pieces: Iterable[LogitsAndIds], tokens: int) -> RowCompared:
    import numpy as np

    sums = np.zeros(4)
    for known, (logits, ids) in zip(reference, pieces, strict=True):
        own = _log_probs(logits, ids, None)
        same = (known.top == own.top).sum()
        sums += (-known.chosen.sum(), -own.chosen.sum(), divergence(known, own.log_p).sum(), same)
    reference_nll, nll, kl, top1_agreement = sums.tolist()
    return RowCompared(tokens, reference_nll, nll, kl, int(top1_agreement))


def divergence(known: LogProbs, log_q: "np.ndarray") -> "np.ndarray":
    """KL(p || q) at each position; where only some tokens of p are known, all others count as one: a lower bound."""
    import numpy as np

    p: np.ndarray = np.exp(known.log_p)
    if known.ids is None:
        if p.shape != log_q.shape:
            raise ExportError(
                f"{log_q.shape[1]:,} logits per token and its reference {p.shape[1]:,}: another vocabulary"
            )
        kl: np.ndarray = (p * (known.log_p - log_q)).sum(axis=1)
        return kl
    log_q = np.take_along_axis(log_q, known.ids, axis=1)
    rest_p, rest_q = (np.clip(1 - total.sum(axis=1), 1e-12, 1) for total in (p, np.exp(log_q)))
    bound: np.ndarray = (p * (known.log_p - log_q)).sum(axis=1) + rest_p * np.log(rest_p / rest_q)
    return bound


def _log_probs(logits: "np.ndarray", ids: "np.ndarray", most: int | None) -> LogProbs:
    import numpy as np

    log_p = logits.astype(np.float64)
    log_p -= log_p.max(axis=1, keepdims=True)
    log_p -= np.log(np.exp(log_p).sum(axis=1, keepdims=True))
    chosen, top = log_p[np.arange(len(ids)), ids], log_p.argmax(axis=1)
    if most is None or most >= log_p.shape[1]:
        return LogProbs(log_p, None, chosen, top)
    highest = np.argpartition(log_p, -most, axis=1)[:, -most:]
    return LogProbs(np.take_along_axis(log_p, highest, axis=1), highest, chosen, top)


def _with_ids(model: LoadedModel, row: Row, size: int) -> Iterator[LogitsAndIds]:
    """Logits and the answer's tokens they predict. Both models of a comparison are cut at the same positions."""
    import numpy as np

    done = 0
    for logits in model.pieces(row, size):
        if not np.isfinite(logits).all():
            raise ExportError(f"the logits of {model.name} are not finite at answer token {done + 1}: damaged weights")
        yield logits, np.asarray(row[1][done : done + len(logits)])
        done += len(logits)


def _at_once(model: LoadedModel) -> int:
    return max(1, min(TOKENS_AT_ONCE, PIECE_BYTES // (4 * model.vocabulary)))


def _tokens(side: Candidate, conversations: list[Conversation]) -> list[Row]:
    """The tokens a side makes of the conversations; its weights are not read."""
    if side.engine == "llama_cpp":
        from understudy.engines import llama_cpp_worker

        return llama_cpp_worker.tokens(side.model, conversations, [])[0]
    from mlx_lm.utils import load_tokenizer

    from understudy.engines import mlx_worker

    tokenizer = for_mlx(load_tokenizer(side.model), side.model)
    return [mlx_worker.tokens(tokenizer, messages) for messages in conversations]


def _load(side: Candidate, rows: list[Row], threads: int | None) -> LoadedModel:
    """The model of a side, its weights read, with room for the longest row."""
    if side.engine == "llama_cpp":
        from understudy.engines import llama_cpp_worker as llama

        longest = max(len(prompt) + len(answer) for prompt, answer in rows)
        model = llama.load(side.model, longest, threads).llama
        return LoadedModel(side.name, model.n_vocab(), lambda row, size: llama.pieces(model, row, size))
    from understudy.engines import mlx_scoring, mlx_worker

    loaded = mlx_worker.load(side.model, side.adapter)
    return LoadedModel(side.name, loaded.vocabulary, lambda row, size: mlx_scoring.pieces(loaded.model, row, size))


def _require_same(expected: list[Row], rows: list[Row], job: Job) -> None:
    """Raise ExportError unless both sides read the same tokens."""
    for pair_id, one, other in zip(job.pair_ids, expected, rows, strict=True):
        if one != other:
            left, right = one[0] + one[1], other[0] + other[1]
            place = next((p for p, (a, b) in enumerate(zip(left, right)) if a != b), min(len(left), len(right)))
            raise ExportError(
                f"reads other tokens than {job.reference.name}: pair {pair_id} has {len(right)} instead of "
                f"{len(left)}, the first difference at token {place}; the chat template or tokenizer of the file is "
                "not that of training"
            )


if __name__ == "__main__":
    serve(Job, run, waits=True)
