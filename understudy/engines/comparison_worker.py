"""The process that holds the two models of a check."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from understudy.engines import Refused, Row
from understudy.interfaces import Progress, RowCompared
from understudy.worker import serve

if TYPE_CHECKING:
    import numpy as np

PIECE_BYTES = 32 << 20
"""Float32 logits of one model that are looked at together; float64 copies of them take six times as much."""

LIKELIEST = 256
"""Tokens of each place that are remembered when the models cannot be in memory together."""

TOKENS_AT_ONCE = 256
"""Tokens of a piece, where the vocabulary is small."""


class Open(NamedTuple):
    """A model in memory; it goes when this does."""

    name: str
    vocabulary: int
    pieces: Callable[[Row, int], Iterator["np.ndarray"]]
    """(row, tokens at once) > float32 logits [tokens, vocabulary] for its answer."""


class Likely(NamedTuple):
    """What is known of the reference at some places of an answer: log p of all tokens, or of the likeliest."""

    log_p: "np.ndarray"
    """[places, tokens known]"""
    ids: "np.ndarray | None"
    """[places, tokens known]; None when all are."""
    chosen: "np.ndarray"
    """log p of the answer's own tokens."""
    top: "np.ndarray"


def run(job: dict[str, Any], progress: Progress) -> dict[str, Any]:
    """(tokens, nats of the reference, nats, divergence, same likeliest tokens) per row, or why it is refused."""
    reference, candidate = job["reference"], job["candidate"]
    try:
        rows = _rows(reference, job["conversations"])
        _check(rows, _rows(candidate, job["conversations"]), reference["name"], candidate["name"], job["ids"])
        found = (_together if job["together"] else _one_after_the_other)(job, rows, progress)
    except Refused as reason:
        return {"refused": f"{candidate['name']}: {reason}"}
    return {"rows": found}


def _together(job: dict[str, Any], rows: list[Row], progress: Progress) -> list[RowCompared]:
    longest, found = max(len(p) + len(a) for p, a in rows), []
    first, second = (_opened(job[side], longest, job["threads"]) for side in ("reference", "candidate"))
    size = _at_once(first)
    for place, row in enumerate(rows):
        likely = (_likely(logits, ids, None) for logits, ids in _with_ids(first, row, size))
        found.append(_row(likely, _with_ids(second, row, size), len(row[1])))
        progress(place + 1, len(rows), f"{first.name} > {second.name}")
    return found


def _one_after_the_other(job: dict[str, Any], rows: list[Row], progress: Progress) -> list[RowCompared]:
    longest, remembered, found = max(len(p) + len(a) for p, a in rows), [], []
    first = _opened(job["reference"], longest, job["threads"])
    size = _at_once(first)
    for place, row in enumerate(rows):
        remembered.append([_likely(logits, ids, LIKELIEST) for logits, ids in _with_ids(first, row, size)])
        progress(place + 1, 2 * len(rows), first.name)
    del first  # frees the reference's weights before the candidate's are read
    second = _opened(job["candidate"], longest, job["threads"])
    for place, row in enumerate(rows):
        found.append(_row(iter(remembered[place]), _with_ids(second, row, size), len(row[1])))
        progress(len(rows) + place + 1, 2 * len(rows), second.name)
    return found


def _row(reference: Iterator[Likely], pieces: Iterator[tuple["np.ndarray", "np.ndarray"]], tokens: int) -> RowCompared:
    import numpy as np

    sums = np.zeros(4)
    for logits, ids in pieces:
        likely, own = next(reference), _likely(logits, ids, None)
        same = (likely.top == own.top).sum()
        sums += (-likely.chosen.sum(), -own.chosen.sum(), divergence(likely, own.log_p).sum(), same)
    reference_nll, nll, kl, top1_agreement = sums.tolist()
    return RowCompared(tokens, reference_nll, nll, kl, int(top1_agreement))


def divergence(likely: Likely, log_q: "np.ndarray") -> "np.ndarray":
    """KL(p || q) at each place; with the likeliest tokens only, all others count as one: a lower bound."""
    import numpy as np

    if likely.ids is None:
        if likely.log_p.shape != log_q.shape:
            raise Refused(
                f"{log_q.shape[1]:,} logits per token and its reference {likely.log_p.shape[1]:,}: another vocabulary"
            )
        return (np.exp(likely.log_p) * (likely.log_p - log_q)).sum(axis=1)
    known = np.take_along_axis(log_q, likely.ids, axis=1)
    rest_p = np.clip(1 - np.exp(likely.log_p).sum(axis=1), 1e-12, 1)
    rest_q = np.clip(1 - np.exp(known).sum(axis=1), 1e-12, 1)
    return (np.exp(likely.log_p) * (likely.log_p - known)).sum(axis=1) + rest_p * np.log(rest_p / rest_q)


def _likely(logits: "np.ndarray", ids: "np.ndarray", most: int | None) -> Likely:
    import numpy as np

    log_p = logits.astype(np.float64)
    log_p -= log_p.max(axis=1, keepdims=True)
    log_p -= np.log(np.exp(log_p).sum(axis=1, keepdims=True))
    chosen, top = log_p[np.arange(len(ids)), ids], log_p.argmax(axis=1)
    if most is None or most >= log_p.shape[1]:
        return Likely(log_p, None, chosen, top)
    likeliest = np.argpartition(log_p, -most, axis=1)[:, -most:]
    return Likely(np.take_along_axis(log_p, likeliest, axis=1), likeliest, chosen, top)


def _with_ids(model: Open, row: Row, size: int) -> Iterator[tuple["np.ndarray", "np.ndarray"]]:
    """Logits and the answer's tokens they foretell. Both models of a check are cut at the same places."""
    import numpy as np

    done = 0
    for logits in model.pieces(row, size):
        if not np.isfinite(logits).all():
            raise Refused(f"the logits of {model.name} are no numbers at answer token {done + 1}: damaged weights")
        yield logits, np.asarray(row[1][done : done + len(logits)])
        done += len(logits)


def _at_once(model: Open) -> int:
    return max(1, min(TOKENS_AT_ONCE, PIECE_BYTES // (4 * model.vocabulary)))


def _rows(side: dict[str, Any], conversations: list[list[dict[str, str]]]) -> list[Row]:
    """The tokens a side makes of the conversations; its weights are not read."""
    if side["engine"] == "llama_cpp":
        from understudy.engines import llama_cpp_worker

        return llama_cpp_worker.tokens(Path(side["model"]), conversations, [])[0]
    from mlx_lm.utils import load_tokenizer

    from understudy.engines import mlx_worker

    tokenizer = load_tokenizer(Path(side["model"]))
    return [mlx_worker.tokens(tokenizer, messages) for messages in conversations]


def _opened(side: dict[str, Any], longest: int, threads: int | None) -> Open:
    """The model of a side, its weights read."""
    if side["engine"] == "llama_cpp":
        from understudy.engines import llama_cpp_worker

        file = Path(side["model"])
        threads = threads or llama_cpp_worker.usual_threads(file)
        model = llama_cpp_worker.load(file, threads, n_ctx=longest, n_batch=llama_cpp_worker.TOKENS_AT_ONCE)
        return Open(side["name"], model.n_vocab(), lambda row, size: llama_cpp_worker.pieces(model, row, size))
    from understudy.engines import mlx_scoring, mlx_worker

    loaded = mlx_worker.load(side["model"], side["adapter"])
    return Open(side["name"], loaded.vocabulary, lambda row, size: mlx_scoring.pieces(loaded.model, row, size))


def _check(expected: list[Row], rows: list[Row], reference: str, name: str, ids: list[str]) -> None:
    """Raise Refused unless both sides read the same tokens."""
    for pair_id, one, other in zip(ids, expected, rows, strict=True):
        if one != other:
            left, right = one[0] + one[1], other[0] + other[1]
            place = next((p for p, (a, b) in enumerate(zip(left, right)) if a != b), min(len(left), len(right)))
            raise Refused(
                f"reads other tokens than {reference}: pair {pair_id} has {len(right)} instead of {len(left)}, the "
                f"first difference at token {place}; the chat template or tokenizer of the file is not that of training"
            )


if __name__ == "__main__":
    serve(run)
