"""Request talks again in the next run: by id, file or title, or all in one state, as `status` shows them.

With --prompt, those that another prompt wrote.
"""

from argparse import ArgumentParser, Namespace
from datetime import UTC, datetime
from pathlib import Path

from understudy import config, store
from understudy.calls import prompting
from understudy.calls.ledger import CallLedger
from understudy.calls.model_teacher import CALLS
from understudy.calls.prompting import BUILT_IN, Prompts
from understudy.cli import Result, channels
from understudy.deployments import packaged
from understudy.errors import UnderstudyError
from understudy.records import Answers, Questions

EXAMPLE = "understudy retry dQw4w9WgXcQ --channel my-channel"
RECORDS: dict[str, type[Questions] | type[Answers]] = {"questions": Questions, "answers": Answers}


def options(p: ArgumentParser) -> None:
    p.add_argument(
        "ids", nargs="*", metavar="ID", help="a talk, or a state such as `refused`, as `understudy status` shows it"
    )
    p.add_argument("--prompt", action="store_true",
                   help="every talk whose answers were written under another prompt; paid for again")  # fmt: skip
    p.add_argument(
        "--status", metavar="STATE", help="every talk in this state, e.g. no_language; see understudy status"
    )
    p.add_argument("--preset", metavar="NAME|FILE", help="with --prompt: whose prompts (default: the built-in ones)")
    channels.option(p, "a folder under data/ (default: the only one)", required=False)


def main(args: Namespace) -> Result:
    """Make the talks due."""
    if bool(args.ids) + args.prompt + bool(args.status) != 1:
        raise UnderstudyError(
            "name the talks to request again, e.g. understudy retry ID; `understudy status` lists them; or take "
            "--status STATE for those in one state, or --prompt for those of another prompt"
        )
    folder = channels.meant(args.home, args.channel)
    prompts = config.load(packaged.preset(args.preset)).teacher_prompts if args.preset else BUILT_IN
    with channels.locked(folder):
        ids = _in_state(folder, args.status) if args.status else args.ids
        return _prompted(args.home, folder, prompts) if args.prompt else _named(folder, ids)


def _in_state(folder: Path, state: str) -> list[str]:
    """The talks in a state. Raises UnderstudyError with the states there are."""
    ledger = channels.ledger(folder)
    if ids := [row.document_id for row in ledger.rows() if row.status == state]:
        return ids
    raise UnderstudyError(f"no talk is {state!r}; there are: {', '.join(ledger.counts()) or 'none'}")


def _named(folder: Path, ids: list[str]) -> Result:
    now = datetime.now(UTC).isoformat(timespec="seconds")
    ledger = channels.ledger(folder)
    every, states = ledger.rows(), ledger.counts()
    rows = [row for row in every if row.status in ids] + channels.rows(ledger, [i for i in ids if i not in states])
    pending = [row._replace(status="pending", attempts=0, next_try=now) for row in rows if row.status != "ok"]
    for row in pending:
        ledger.record(row)
    lines = [
        f"{row.document_id}: {'already fetched' if row.status == 'ok' else 'tried again in the next run'}"
        for row in rows
    ]
    lines += ["Now type the same `understudy run` again."] if pending else []
    return Result("\n".join(lines), {"retried": [row.document_id for row in pending]})


def _prompted(home: Path, folder: Path, prompts: Prompts) -> Result:
    """Make questions and answers stale that another wording wrote; answers go with their questions."""
    wanted = {kind: prompting.sha256(kind, prompts) for kind in RECORDS}
    retried = []
    for talk in sorted((folder / "documents").iterdir()):
        stale = [kind for kind, record in RECORDS.items() if _other(talk / f"{kind}.json", record, wanted[kind])]
        for kind in ("questions", "answers") if "questions" in stale else stale:
            store.discard(home, (talk / f"{kind}.json").relative_to(home).as_posix())
        retried += [talk.name] if stale else []
    ledger = CallLedger(folder / CALLS)
    ledger.drop_answers(retried)
    ledger.close()
    count = len(retried)
    text = f"{count} talk{'' if count == 1 else 's'} of another prompt: asked, and paid for, again in the next run"
    return Result(text, {"retried": retried})


def _other(file: Path, record: type[Questions] | type[Answers], wanted: str) -> bool:
    """Whether the file was written under another prompt than `wanted`."""
    if not file.is_file():
        return False
    digest = record.model_validate_json(file.read_bytes()).prompt_sha256
    return digest is not None and digest != wanted
