"""The hops of a run as a table to read: how far each file is from what was trained, and whether it is offered."""

from html import escape

from understudy.records import Hop, HopReport, Interval


def markdown(report: HopReport) -> str:
    """One row per candidate, the reasons of what is refused, and what could not be judged."""
    head = ("", "made of", "loss", "KL", "same token", "ends", "size", "tokens/s", "memory", "")
    lines = [f"| {' | '.join(head)} |", f"|{'---|' * len(head)}"]
    lines += [f"| {' | '.join(_cells(hop))} |" for hop in report.hops]
    recommended = (
        f"Recommended: **{_plain(report.recommended)}**." if report.recommended else "**Every file is refused.**"
    )
    lines += ["", f"{recommended} Loss: change in nats per answer token (95 %). KL: nats per token, mean."]
    lines += [
        "",
        *(f"- **{_plain(hop.name)}** is refused: {_plain(hop.refused)}." for hop in report.hops if hop.refused),
    ]
    lines += [f"- {_plain(note)}" for note in report.notes]
    return "\n".join(lines).rstrip() + "\n"


def _cells(hop: Hop) -> list[str]:
    change = (
        f"{hop.nll_change.value:+.4f} ({hop.nll_change.low:+.4f} to {hop.nll_change.high:+.4f})"
        if hop.nll_change
        else ""
    )
    ended = hop.stopping.ended if hop.stopping else None
    return [
        _plain(hop.name),
        _plain(hop.reference or ""),
        change,
        ("" if hop.kl_exact else "≥ ") + f"{hop.kl.value:.4f}" if hop.kl else "",
        _share(hop.same_top, 1),
        f"{_share(ended)} of {ended.n}" if ended else "",
        f"{hop.bytes / 1e6:,.1f} MB",
        f"{hop.tokens_per_second:,.0f}" if hop.tokens_per_second else "",
        f"{hop.peak_memory_bytes / 1e6:,.0f} MB" if hop.peak_memory_bytes else "",
        "refused" if hop.refused else "",
    ]


def _share(interval: Interval | None, digits: int = 0) -> str:
    return f"{100 * interval.value:.{digits}f} %" if interval else ""


def _plain(text: str) -> str:
    """`text` with nothing in it that reads as HTML or ends a cell."""
    return escape(text, quote=False).replace("|", "\\|")
