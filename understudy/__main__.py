"""`python -m understudy`: look after the talks of a channel. Needs no Prefect."""

import argparse
import json
import shutil
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from understudy import locks, mirror
from understudy.calls import recording
from understudy.calls.ledger import CallLedger
from understudy.calls.model_teacher import CALLS, RECORDING
from understudy.channel import forgetting, imported
from understudy.channel.ledger import URL_FILE, Ledger, Row
from understudy.cli import publish
from understudy.errors import UnderstudyError
from understudy.runs import champion, find
from understudy.sources.youtube import PREFIX
from understudy.text import words

ROOT = Path(__file__).resolve().parents[1]
ABOUT = "Look after a channel's talks and models. What makes them is `python flows/main.py`."
USES = {"chat": "talk to a tuned model in the terminal", "serve": "let other programs ask it, as OpenAI's API does"}
WHICH = (
    "Without MODEL: the newest channel. Of a channel its champion, else its newest run; of a run its smallest file. "
    "Answers are written by AI; Ctrl-C ends."
)


def parser() -> argparse.ArgumentParser:
    """The commands and their options."""
    p = argparse.ArgumentParser(prog="python -m understudy", description=ABOUT)
    p.add_argument(
        "--home", type=Path, default=ROOT, metavar="DIR", help="where data/ and models/ live (default: here)"
    )
    commands = p.add_subparsers(dest="command", required=True, metavar="COMMAND")
    status = commands.add_parser("status", help="how many talks are in which state, why, and when they are asked again")
    status.add_argument("channel", nargs="?", help="a folder under data/ (default: all)")
    status.add_argument("--json", action="store_true", help="one JSON object")
    retry = commands.add_parser("retry", help="ask for these talks again in the next run")
    retry.add_argument("ids", nargs="+", metavar="ID", help="a talk: a folder under data/CHANNEL/documents, a video id")
    retry.add_argument("--channel", required=True, help="a folder under data/")
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
    for name, what in USES.items():
        use = commands.add_parser(name, help=what, description=f"{what[0].upper()}{what[1:]}. {WHICH}")
        use.add_argument("model", nargs="?", metavar="MODEL", help="CHANNEL, CHANNEL/RUN or a GGUF file")
        use.add_argument("--force", action="store_true", help="also a file that the parity check refused")
    use.add_argument("--port", type=int, default=8080, help="on 127.0.0.1 (default: 8080; 0: any free one)")
    _comparisons(commands)
    out = commands.add_parser(
        "publish",
        help="upload a model to the Hugging Face hub, after asking",
        description="Show what of a run would go to the hub, ask, and upload it: weights, GGUF files, card, scorecard "
        "and report; never talks or dataset. Private unless --public. The token is HF_TOKEN or that of `hf auth "
        "login`. A second call sends only what changed.",
    )
    out.add_argument("channel", metavar="CHANNEL", help="a folder under models/: its champion, else its newest run")
    out.add_argument("--repo", required=True, metavar="OWNER/NAME", help="the repository; made when it is not there")
    out.add_argument("--run", metavar="RUN", help="another run, a folder under models/CHANNEL")
    seen = out.add_mutually_exclusive_group()
    seen.add_argument("--private", action="store_true", help="only you can see it (the default)")
    seen.add_argument("--public", action="store_true", help="everybody can")
    out.add_argument("--yes", action="store_true", help="do not ask")
    out.add_argument("--force", action="store_true", help="also when the scorecard says 'worse'")
    doctor = commands.add_parser("doctor", help="what this machine trains on, how fast, and which bases fit")
    doctor.add_argument("--json", action="store_true", help="one JSON object")
    back = commands.add_parser("rollback", help="use the champion before this one again; repeat to go further back")
    back.add_argument("channel", help="a folder under models/")
    back.add_argument("--to", metavar="RUN", help="use this run instead, a folder under models/CHANNEL")
    again = commands.add_parser(
        "rerun",
        help="train a run once more from its record, and compare the losses",
        description="Train once more what models/CHANNEL/RUN/run.json says, from the same dataset and base, and tell "
        "how far the losses are from the first run's. Nothing of the first run is touched.",
    )
    again.add_argument("run", metavar="RUN", help="a folder under models/CHANNEL")
    again.add_argument("--channel", help="needed where two channels have a run of this name")
    again.add_argument("--out", type=Path, metavar="DIR", help="for the adapter (default: RUN-rerun-N beside RUN)")
    again.add_argument("--home", type=Path, metavar="DIR", default=argparse.SUPPRESS, help="of data/ and models/")
    for name, way in (("push", "to"), ("pull", "from")):
        copy = commands.add_parser(name, help=f"copy a channel's talks and models {way} s3://, gs:// or file://")
        copy.add_argument("channel", metavar="CHANNEL", help="a folder under data/")
        copy.add_argument("url", metavar="URL", help="e.g. s3://bucket/understudy; keys as s3fs and gcsfs find them")
    record = commands.add_parser("record", help="write a teacher's replies to a file, for the teacher `replay`")
    record.add_argument("file", type=Path, metavar="FILE", help="where to, e.g. replies.jsonl")
    record.add_argument("--channel", required=True, help="a folder under data/ whose teacher was asked")
    forget = commands.add_parser("forget", help="delete talks with everything made of them, for good")
    forget.add_argument("--yes", action="store_true", help="do not ask before a whole channel is deleted")
    forget.add_argument("ids", nargs="*", metavar="ID", help="a talk (none: every talk of the channel)")
    forget.add_argument("--channel", required=True, help="a folder under data/; without an ID all of it is deleted")
    return p


def _comparisons(commands: Any) -> None:
    """Add the commands that compare."""
    blind = commands.add_parser(
        "compare",
        help="choose between base and tuned, blind, in a browser",
        description="Serve one local page: a question, two answers in an order of their own, no names until the end. "
        "Answers of a scored run are there already; of two GGUF files they are asked for first. Choices are kept in "
        "comparison.jsonl of the run at once, and end on its report.",
    )
    blind.add_argument("model", nargs="+", metavar="MODEL", help="CHANNEL or CHANNEL/RUN; or two GGUF files")
    blind.add_argument("--pairs", type=int, default=20, metavar="N", help="to decide (default: 20)")
    blind.add_argument("--port", type=int, default=0, help="on 127.0.0.1 (default: any free one)")
    blind.add_argument("--channel", help="whose held-out questions two files are asked that belong to no run")
    beside = commands.add_parser("compare-runs", help="two scorecards side by side, where both asked the same rows")
    beside.add_argument("first", metavar="A", help="CHANNEL/RUN, a run, its folder or its scorecard.json")
    beside.add_argument("second", metavar="B", help="the other one")
    shape = beside.add_mutually_exclusive_group()
    shape.add_argument("--json", action="store_true", help="one JSON object")
    shape.add_argument("--html", type=Path, metavar="FILE", help="write a page instead")


def main(arguments: list[str] | None = None) -> int:  # noqa: PLR0912 - one branch per command
    """Run one command; returns the exit status."""
    asked = parser().parse_args(arguments)
    data, models = asked.home.resolve() / "data", asked.home.resolve() / "models"
    try:
        if asked.command == "status":
            return status(data, asked.channel, asked.json)
        if asked.command == "doctor":
            from understudy.cli.doctor import as_json, doctor

            print(as_json(asked.home) if asked.json else doctor(asked.home))
            return 0
        if asked.command in ("chat", "serve"):
            return use(models, asked.model, getattr(asked, "port", None), asked.force)
        if asked.command in ("compare", "compare-runs"):
            return beside(asked)
        if asked.command == "publish":
            private, channel = not asked.public, asked.channel
            how: dict[str, Any] = {"run": asked.run, "private": private, "yes": asked.yes, "force": asked.force}
            return publish.publish(models, channel, asked.repo, **how)
        if asked.command == "review":
            from understudy.web.review.server import review

            _folder(data, asked.channel)
            return review(data, asked.channel)
        if asked.command == "rerun":
            from understudy.cli.rerun import rerun

            print(rerun(asked.home.resolve(), asked.run, asked.channel, asked.out))
            return 0
        if asked.command == "rollback":
            return rollback(asked.home.resolve() / "models", asked.channel, asked.to)
        if asked.command in ("push", "pull"):
            print(mirror.told(asked.command, asked.home.resolve(), asked.channel, asked.url))
            champion.restore(asked.home.resolve() / "models" / asked.channel)
            return 0
        if asked.command == "import":
            return bring_in(asked.path, data, asked.channel)
        folder = _folder(data, asked.channel)
        with locks.held(folder / ".lock", f"data/{asked.channel}"):
            if asked.command == "retry":
                return retry(Ledger(folder / "ledger.sqlite"), asked.ids)
            if asked.command == "record":
                return record(folder, asked.file)
            return forget(folder, asked.home.resolve() / "models" / asked.channel, asked.ids, asked.yes)
    except UnderstudyError as error:
        print(error, file=sys.stderr)
        return 2
    except ModuleNotFoundError as error:
        print(f"{error.name} is not installed for {sys.executable}; use the Python of the set-up: .venv/bin/python",
              file=sys.stderr)  # fmt: skip
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
                print(f"      {talks:>6}  {words.one_line(reason, 100)}")
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
    if words.slug(channel) != channel:
        raise UnderstudyError(f"{channel!r} is no channel name: lower-case letters, digits and hyphens")
    if not path.exists():
        raise UnderstudyError(f"there is no file or folder {str(path)!r}")
    with locks.held(data / channel / ".lock", f"data/{channel}"):
        found = list(imported.bring(path.resolve(), data / channel, PREFIX))
    for file, why in found:
        if why:
            print(f"left out {file.name}: {why}")
    brought = sum(why is None for _, why in found)
    then = f"; the next run of {channel} reads them" if brought else ""
    print(f"{brought} of {len(found)} files brought in{then}")
    return 0 if brought else 1


def record(folder: Path, file: Path) -> int:
    """Write the replies of the channel's teacher as a recording."""
    ledger = CallLedger(folder / CALLS)
    told = json.loads(ledger.note(RECORDING) or "{}")
    written = recording.record(ledger, file, **told)
    print(f"{written} replies in {file}; play them with: --set 'teacher={{use: replay, file: {file}}}'")
    return 0


def forget(folder: Path, models: Path, ids: list[str], yes: bool) -> int:
    """Delete talks and all that was made of them; name the models that may have seen them."""
    if not ids and not yes and not _agreed(f"Delete all of {folder}, with its talks and its paid replies?"):
        raise UnderstudyError(f"nothing was deleted; to delete all of it: forget --channel {folder.name} --yes")
    ledger = Ledger(folder / "ledger.sqlite")
    rows = _rows(ledger, ids) if ids else ledger.rows()
    if ids:
        forgetting.forget(folder, rows)
    else:
        shutil.rmtree(folder)
    talks = f"{len(rows)} talk{'' if len(rows) == 1 else 's'}"
    after = "its dataset too, which the next run builds without them" if ids else "nothing of it is left"
    print(f"forgotten: {talks} of {folder.name}; {after}")
    for run in champion.runs(models):
        print(f"  may have been trained on them, delete it or train again: {run}")
    return 0


def _agreed(question: str) -> bool:
    return sys.stdin.isatty() and input(f"{question} [y/N] ").strip().lower() in ("y", "yes")


def rollback(models: Path, channel: str, to: str | None) -> int:
    """Make an earlier champion the champion again."""
    if words.slug(channel) != channel:
        raise UnderstudyError(f"{channel!r} is no channel name: lower-case letters, digits and hyphens")
    event = champion.rollback(models / channel, to)
    print(f"{channel} uses {event.run} from now on, no longer {event.before or 'the newest run'}")
    return 0


def use(models: Path, model: str | None, port: int | None, force: bool) -> int:
    """Chat with a model in the terminal, or serve it on `port`."""
    file = find.gguf(models, model, force)
    if port is None:
        from understudy.serving.chat import chat

        return chat(file)
    from understudy.serving.server import serve

    return serve(file, port)


def beside(asked: argparse.Namespace) -> int:
    """Compare answers blind, or two scorecards."""
    from understudy.cli import compare

    home = asked.home.resolve()
    if asked.command == "compare-runs":
        return compare.compare_runs(home / "models", asked.first, asked.second, asked.json, asked.html)
    if len(asked.model) > 2:
        raise UnderstudyError(f"{len(asked.model)} models are named; name one run, or two GGUF files")
    return compare.compare(home, asked.model, asked.pairs, asked.port, asked.channel)


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
    found = {f.parent.name for name in ("ledger.sqlite", URL_FILE) for f in data.glob(f"*/{name}")}
    if words.slug(channel) != channel or channel not in found:
        known = ", ".join(sorted(found)) or "none yet"
        raise UnderstudyError(f"no channel {channel!r} under {data}; there are: {known}")
    return data / channel


if __name__ == "__main__":
    raise SystemExit(main())
