"""`python -m understudy`: look after the talks of a channel. Needs no Prefect."""

import argparse
import json
import shutil
import sys
from datetime import UTC, datetime
from pathlib import Path

from understudy import forgetting, imported, locks, text
from understudy.calls import recording
from understudy.calls.ledger import CallLedger
from understudy.calls.model_teacher import CALLS, RECORDING
from understudy.errors import UnderstudyError
from understudy.ledger import Ledger, Row
from understudy.sources.youtube import PREFIX

ROOT = Path(__file__).resolve().parents[1]


def parser() -> argparse.ArgumentParser:
    """The commands and their options."""
    p = argparse.ArgumentParser(prog="python -m understudy", description="Look after the talks of a channel.")
    p.add_argument(
        "--home", type=Path, default=ROOT, metavar="DIR", help="where data/ and models/ live (default: here)"
    )
    commands = p.add_subparsers(dest="command", required=True, metavar="COMMAND")
    status = commands.add_parser("status", help="how many talks are in which state, why, and when they are asked again")
    status.add_argument("channel", nargs="?", help="a folder under data/ (default: all)")
    status.add_argument("--json", action="store_true", help="one JSON object")
    retry = commands.add_parser("retry", help="ask for these talks again in the next run")
    retry.add_argument("ids", nargs="+", metavar="ID")
    retry.add_argument("--channel", required=True)
    bring = commands.add_parser(
        "import",
        help="bring in caption files for talks of a YouTube channel",
        description="Bring in caption files named by their video (ID.en.vtt, or Title [ID].en.vtt), for example from "
        "a machine whose address is not blocked. The next run reads them instead of asking YouTube.",
    )
    bring.add_argument("path", type=Path, metavar="PATH", help="a folder, or one file (vtt, srt, json3, xml)")
    bring.add_argument("--channel", required=True, help="a folder under data/; made when it is not there yet")
    review = commands.add_parser(
        "review",
        help="look through the pairs in a browser; reject, restore, edit",
        description="Serve one local page with every pair of a channel. What you decide is kept in decisions.jsonl, "
        "survives every run, wins over the gates, and is applied by the next run.",
    )
    review.add_argument("channel", help="a folder under data/ that has a dataset")
    for name, what in (("chat", "talk to a tuned model in the terminal"), ("serve", "serve it as OpenAI's API does")):
        using = commands.add_parser(name, help=what)
        using.add_argument("model", nargs="?", help="a channel, or a GGUF file (default: the newest)")
    using.add_argument("--port", type=int, default=8080, help="on 127.0.0.1 (default: 8080; 0: any)")
    doctor = commands.add_parser("doctor", help="what this machine trains on, how fast, and which bases fit")
    doctor.add_argument("--json", action="store_true", help="one JSON object")
    record = commands.add_parser("record", help="write a teacher's replies to a file, for the teacher `replay`")
    record.add_argument("file", type=Path, metavar="FILE")
    record.add_argument("--channel", required=True)
    forget = commands.add_parser("forget", help="delete talks with everything made of them, for good")
    forget.add_argument("ids", nargs="*", metavar="ID")
    forget.add_argument("--channel", required=True, help="without an ID: the whole channel")
    return p


def main(arguments: list[str] | None = None) -> int:
    """Run one command; returns the exit status."""
    asked = parser().parse_args(arguments)
    data = asked.home.resolve() / "data"
    try:
        if asked.command == "status":
            return status(data, asked.channel, asked.json)
        if asked.command == "doctor":
            from understudy.doctor import as_json, doctor

            print(as_json(asked.home) if asked.json else doctor(asked.home))
            return 0
        if asked.command in ("chat", "serve"):
            return use(asked.home.resolve() / "models", asked.model, getattr(asked, "port", None))
        if asked.command == "review":
            from understudy.review.server import review

            _folder(data, asked.channel)
            return review(data, asked.channel)
        if asked.command == "import":
            return bring_in(asked.path, data, asked.channel)
        folder = _folder(data, asked.channel)
        with locks.held(folder / ".lock", f"data/{asked.channel}"):
            if asked.command == "retry":
                return retry(Ledger(folder / "ledger.sqlite"), asked.ids)
            if asked.command == "record":
                return record(folder, asked.file)
            return forget(folder, asked.home.resolve() / "models" / asked.channel, asked.ids)
    except UnderstudyError as error:
        print(error, file=sys.stderr)
        return 2


def status(data: Path, channel: str | None, as_json: bool) -> int:
    """Print the state of one channel, or of all."""
    folders = [_folder(data, channel)] if channel else sorted(f.parent for f in data.glob("*/ledger.sqlite"))
    found = {folder.name: _counted(Ledger(folder / "ledger.sqlite")) for folder in folders}
    if as_json:
        print(json.dumps(found))
        return 0
    if not found:
        print(f"no channel under {data}")
    for name, counts in found.items():
        blocked = Ledger(data / name / "ledger.sqlite").note("blocked_until")
        print(f"{name}" + (f": the source refuses this machine; asked again after {blocked}" if blocked else ""))
        for state, told in counts.items():
            again = f"  next try {told['next_try']}" if told["next_try"] else ""
            print(f"  {state:<16} {told['talks']:>6}{again}")
            for reason, talks in told["reasons"].items():
                print(f"      {talks:>6}  {text.one_line(reason, 100)}")
    return 0


def retry(ledger: Ledger, ids: list[str]) -> int:
    """Let the next run ask for these talks."""
    for row in _rows(ledger, ids):
        if row.status != "ok":
            now = datetime.now(UTC).isoformat(timespec="seconds")
            ledger.record(row._replace(status="pending", attempts=0, next_try=now))
        print(f"{row.document_id}: {'is here already' if row.status == 'ok' else 'asked again in the next run'}")
    return 0


def bring_in(path: Path, data: Path, channel: str) -> int:
    """Copy caption files into the channel; says of each one left out why."""
    if text.slug(channel) != channel:
        raise UnderstudyError(f"{channel!r} is no channel name: lower-case letters, digits and hyphens")
    if not path.exists():
        raise UnderstudyError(f"there is no file or folder {str(path)!r}")
    with locks.held(data / channel / ".lock", f"data/{channel}"):
        found = list(imported.bring(path.resolve(), data / channel, PREFIX))
    for file, why in found:
        if why:
            print(f"left out {file.name}: {why}")
    brought = sum(why is None for _, why in found)
    print(f"{brought} of {len(found)} files brought in; the next run of {channel} reads them")
    return 0 if brought else 1


def record(folder: Path, file: Path) -> int:
    """Write the replies of the channel's teacher as a recording."""
    ledger = CallLedger(folder / CALLS)
    told = json.loads(ledger.note(RECORDING) or "{}")
    written = recording.record(ledger, file, **told)
    print(f"{written} replies in {file}; play them with: --set 'teacher={{use: replay, file: {file}}}'")
    return 0


def forget(folder: Path, models: Path, ids: list[str]) -> int:
    """Delete talks and all that was made of them; name the models that may have seen them."""
    ledger = Ledger(folder / "ledger.sqlite")
    rows = _rows(ledger, ids) if ids else ledger.rows()
    if ids:
        forgetting.forget(folder, rows)
    else:
        shutil.rmtree(folder)
    print(f"forgotten: {len(rows)} talks of {folder.name}; the next run builds the dataset without them")
    for run in sorted(f.parent for f in models.glob("*/adapter")):
        print(f"  may have been trained on them, delete it or train again: {run}")
    return 0


def use(models: Path, model: str | None, port: int | None) -> int:
    """Chat with a model in the terminal, or serve it on `port`."""
    file = _gguf(models, model)
    if port is None:
        from understudy.serving.chat import chat

        return chat(file)
    from understudy.serving.server import serve

    return serve(file, port)


def _gguf(models: Path, model: str | None) -> Path:
    """A GGUF file: the one named, or the newest of a channel, or the newest of all; small before large."""
    if model and Path(model).is_file():
        return Path(model)
    found = [file for file in models.glob(f"{model or '*'}/*/gguf/*.gguf") if not file.name.startswith(".")]
    if not found:
        known = ", ".join(sorted({file.parents[2].name for file in models.glob("*/*/gguf/*.gguf")})) or "none yet"
        raise UnderstudyError(
            f"no model {model or ''} under {models}; name a GGUF file, or a channel that has one: {known}"
        )
    newest = max(file.parent.stat().st_mtime for file in found)
    return min((f for f in found if f.parent.stat().st_mtime == newest), key=lambda file: file.stat().st_size)


def _counted(ledger: Ledger) -> dict[str, dict[str, object]]:
    return {
        state: {"talks": talks, "next_try": ledger.first_next_try(state), "reasons": ledger.reasons(state)}
        for state, talks in ledger.counts().items()
    }


def _rows(ledger: Ledger, ids: list[str]) -> list[Row]:
    found = {name: ledger.get(name) for name in ids}
    if missing := [name for name, row in found.items() if row is None]:
        raise UnderstudyError(f"no talk {', '.join(map(repr, missing))} in {ledger.file}; see `status`")
    return [row for row in found.values() if row]


def _folder(data: Path, channel: str) -> Path:
    if text.slug(channel) != channel or not (data / channel / "ledger.sqlite").is_file():
        known = ", ".join(sorted(f.parent.name for f in data.glob("*/ledger.sqlite"))) or "none yet"
        raise UnderstudyError(f"no channel {channel!r} under {data}; there are: {known}")
    return data / channel


if __name__ == "__main__":
    raise SystemExit(main())
