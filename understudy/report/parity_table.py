"""The parity of a run as a table to read: how far each file is from what was trained, and whether it is offered."""

from understudy.records import Interval, ParityCheck, ParityReport
from understudy.text.table import plain, table

HEAD = ("", "made from", "loss", "KL", "top-1 agreement", "ends by itself", "size", "tokens/s", "memory", "")


def markdown(report: ParityReport) -> str:
    """One row per candidate, the reasons of what is refused, and what could not be judged."""
    best = f"Recommended: **{plain(report.recommended)}**." if report.recommended else "**Every file is refused.**"
    reasons = [f"- **{plain(c.name)}** is refused: {plain(c.refused)}." for c in report.checks if c.refused]
    return (
        "\n\n".join(
            part
            for part in (
                table(HEAD, map(_cells, report.checks)),
                f"{best} Loss: change in nats per answer token (95 %). KL: nats per token, mean.",
                "\n".join([*reasons, *(f"- {plain(note)}" for note in report.notes)]),
            )
            if part
        )
        + "\n"
    )


def _cells(check: ParityCheck) -> list[str]:
    change, ended = check.nll_change, check.stopping.ended if check.stopping else None
    return [
        plain(check.name),
        plain(check.reference or ""),
        f"{change.value:+.4f} ({change.low:+.4f} to {change.high:+.4f})" if change else "",
        ("" if check.kl_exact else "≥ ") + f"{check.kl.value:.4f}" if check.kl else "",
        _share(check.top1_agreement, 1),
        f"{_share(ended)} of {ended.n}" if ended else "",
        f"{check.bytes / 1e6:,.1f} MB",
        f"{check.tokens_per_second:,.0f}" if check.tokens_per_second else "",
        f"{check.peak_memory_bytes / 1e6:,.0f} MB" if check.peak_memory_bytes else "",
        "refused" if check.refused else "",
    ]


def _share(interval: Interval | None, digits: int = 0) -> str:
    return f"{100 * interval.value:.{digits}f} %" if interval else ""
