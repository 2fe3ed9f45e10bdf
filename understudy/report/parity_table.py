"""The parity of a run as a table to read: how far each file is from what was trained, and whether it is offered."""

from html import escape

from understudy.records import Interval, ParityCheck, ParityReport


def markdown(report: ParityReport) -> str:
    """One row per candidate, the reasons of what is refused, and what could not be judged."""
    head = ("", "made of", "loss", "KL", "same token", "ends", "size", "tokens/s", "memory", "")
    lines = [f"| {' | '.join(head)} |", f"|{'---|' * len(head)}"]
    lines += [f"| {' | '.join(_cells(check))} |" for check in report.checks]
    recommended = (
        f"Recommended: **{_plain(report.recommended)}**." if report.recommended else "**Every file is refused.**"
    )
    lines += ["", f"{recommended} Loss: change in nats per answer token (95 %). KL: nats per token, mean."]
    lines += [
        "",
        *(
            f"- **{_plain(check.name)}** is refused: {_plain(check.refused)}."
            for check in report.checks
            if check.refused
        ),
    ]
    lines += [f"- {_plain(note)}" for note in report.notes]
    return "\n".join(lines).rstrip() + "\n"


def _cells(check: ParityCheck) -> list[str]:
    change = (
        f"{check.nll_change.value:+.4f} ({check.nll_change.low:+.4f} to {check.nll_change.high:+.4f})"
        if check.nll_change
        else ""
    )
    ended = check.stopping.ended if check.stopping else None
    return [
        _plain(check.name),
        _plain(check.reference or ""),
        change,
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


def _plain(text: str) -> str:
    """`text` with nothing in it that reads as HTML or ends a cell."""
    return escape(text, quote=False).replace("|", "\\|")
