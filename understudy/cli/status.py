"""Show each channel: its talks by id and state, its pairs and models, the disk it uses, and what to type next."""

from argparse import ArgumentParser, Namespace
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

from understudy import locks, store
from understudy.catalog import CATALOG
from understudy.channel.ledger import Ledger, Row
from understudy.cli import Result, channels
from understudy.records import Scorecard
from understudy.report import size
from understudy.runs import champion, clean
from understudy.text import words

MOST_REASONS = 10_000
EXAMPLE = "understudy status my-channel"
TALKS_SHOWN = 40
SPLITS = ("train", "valid", "test")


class State(NamedTuple):
    """The talks in one state."""

    talks: int
    next_try: str | None
    reasons: dict[str, int]
    more_reasons: int = 0


class Model(NamedTuple):
    """One trained run."""

    run: str
    champion: bool
    decision: str | None
    """What its scorecard says to do; None when it has none."""
    report: str | None


def options(p: ArgumentParser) -> None:
    p.add_argument("channel", nargs="?", metavar="NAME", help="a folder under data/ (default: all)")
    p.add_argument("--all", action="store_true", help=f"list every talk and reason, not only {TALKS_SHOWN} and 5")


def main(args: Namespace) -> Result:
    """The state of one channel, or of all; the talks are listed where it is one."""
    home: Path = args.home
    folders = [channels.folder(home, name) for name in ([args.channel] if args.channel else channels.names(home))]
    if not folders:
        return Result(f"no channel under {home / 'data'}; make one: understudy run --documents FOLDER", {})
    lines, data = [], dict[str, Any]()
    for folder in folders:
        ledger = channels.ledger(folder)
        states = {
            state: _state(ledger, state, talks, args.json or args.all) for state, talks in ledger.counts().items()
        }
        pairs, models = _pairs(home, folder.name), _models(home / "models" / folder.name)
        disk = {part: clean.size(home / part / folder.name) for part in ("data", "models")}
        talks, step = ledger.rows(), _next(home, folder, states, pairs, models)
        data[folder.name] = {
            "talks": {name: state._asdict() for name, state in states.items()},
            "documents": [{"id": row.document_id, "title": row.title, "state": row.status} for row in talks],
            "pairs": pairs,
            "models": [model._asdict() for model in models],
            "next": step,
            "disk_bytes": disk,
        }
        blocked = ledger.note("blocked_until")
        lines.append(
            folder.name + (f": the source blocks this machine; next attempt after {blocked}" if blocked else "")
        )
        lines += _of_talks(states, talks, len(folders) == 1, len(talks) if args.all else TALKS_SHOWN)
        lines += _of_models(pairs, models)
        lines.append(f"  {'disk':<16} " + ", ".join(f"{part} {size(count)}" for part, count in disk.items()))
        lines += [f"  {'next':<16} {step}", *_of_schedule(home, folder.name, data[folder.name]), ""]
    return Result("\n".join(lines).rstrip(), data)


def _of_schedule(home: Path, channel: str, data: dict[str, Any]) -> list[str]:
    """The last night of a channel that is deployed, its verdict, and the next one; nothing where it is not."""
    from understudy.deployments import nights, processes

    running, now = processes.load(processes.folder(home)), datetime.now(UTC)
    if channel not in running.channels:
        return []
    try:
        known = nights.of(running.api, channel, now)
    except nights.NoAnswer as error:
        return [f"  {'schedule':<16} {error}; to start it again: understudy deploy --home {home}"]
    if known is None:
        return [f"  {'schedule':<16} it is not on {running.api} any more; understudy deploy --home {home}"]
    data["nights"] = {
        "last": known.last
        and {"at": known.last.at.isoformat(), "state": known.last.state, "message": known.last.message},
        "next": known.next and known.next.isoformat(),
        "completed": known.completed and known.completed.isoformat(),
        "dropped": len(known.dropped),
        "silent": known.silent(now),
    }
    lines = known.lines(now)
    if not processes.alive(running.watch):
        lines.append(f"  {'watch':<16} it has ended; understudy deploy --home {home} starts it again")
    return lines


def _of_talks(states: Mapping[str, State], talks: Sequence[Row], listed: bool, most: int) -> Iterator[str]:
    """Every state with its reasons, then the talks themselves with what `retry` and `forget` call them."""
    for name, state in states.items():
        yield f"  {name:<16} {state.talks:>6}" + (f"  next attempt {state.next_try}" if state.next_try else "")
        yield from (f"      {count:>6}  {words.one_line(why, 100)}" for why, count in state.reasons.items())
        if state.more_reasons:
            yield f"              and {state.more_reasons} more reasons; all of them: --all"
    if not listed:
        return
    width = max((len(row.document_id) for row in talks[:most]), default=0)
    for row in talks[:most]:
        title = "" if words.slug(row.title) == row.document_id else f"  {words.one_line(row.title, 60)}"
        yield f"    {row.document_id:<{width}}  {row.status}{title}"
    if len(talks) > most:
        yield f"    and {len(talks) - most} more: --all lists them"


def _of_models(pairs: Mapping[str, int], models: Sequence[Model]) -> Iterator[str]:
    counts = ", ".join(f"{name} {pairs[name]}" for name in SPLITS if name in pairs)
    yield f"  {'pairs':<16} {pairs.get('pairs', 0):>6}" + (f"  {counts}" if counts else "")
    yield f"  {'models':<16} {len(models):>6}"
    for model in models:
        verdict = model.decision or "not scored yet"
        page = f"; report: {model.report}" if model.report else ""
        yield f"    {model.run}  {verdict}{page}" + ("  (the champion)" if model.champion else "")


def _pairs(home: Path, channel: str) -> dict[str, int]:
    refs = {name: store.latest(home, CATALOG[name].path.format(channel=channel)) for name in ("pairs", *SPLITS)}
    return {name: ref.rows for name, ref in refs.items() if ref and ref.rows is not None}


def _models(folder: Path) -> list[Model]:
    now = champion.current(folder)
    return [
        Model(run.name, run == now, _decision(run / "scorecard.json"), _report(run / "report.html"))
        for run in champion.runs(folder)
    ]


def _report(page: Path) -> str | None:
    return str(page) if page.is_file() else None


def _decision(scorecard: Path) -> str | None:
    try:
        card = Scorecard.model_validate_json(scorecard.read_bytes())
    except (OSError, ValueError):
        return None
    return card.decision.action if card.decision else None


def _next(
    home: Path, folder: Path, states: Mapping[str, State], pairs: Mapping[str, int], models: Sequence[Model]
) -> str:
    """What to type next."""
    if holder := locks.holder(folder / ".lock"):
        return f"wait: {holder} works on it"
    where = "" if home == Path.cwd() else f" --home {home}"
    again = "the same `understudy run` again: it resumes"
    scored = [model.run for model in models if model.decision]
    if not scored and (home / CATALOG["combined"].path.format(channel=folder.name)).exists():
        return f"understudy run --preset PRESET --set name={folder.name} --only model{where}, then --only score"
    unfinished = sum(states[name].talks for name in ("pending", "unanswered") if name in states)
    if unfinished or not pairs or not models:
        return again
    if not scored:
        return f"{again}, and scores the model"
    chosen = next((model.run for model in models if model.champion), None)
    return f"understudy chat {folder.name}{f'/{scored[-1]}' if chosen is None and len(scored) == 1 else ''}{where}"


def _state(ledger: Ledger, state: str, talks: int, every: bool) -> State:
    shown = ledger.reasons(state, MOST_REASONS if every else 5)
    return State(talks, ledger.first_next_try(state), shown, ledger.reason_count(state) - len(shown))
