"""`python flows/main.py`: the command line around the pipeline. Run with --help for what it can do."""

import argparse
import json
import logging
import os
import signal
import socket
import sys
import threading
import time
import traceback
from pathlib import Path
from typing import Any

import yaml

from understudy import config, preflight, worker
from understudy.cli import display
from understudy.errors import Busy, ConfigError, UnderstudyError
from understudy.sources.documents import channel_name
from understudy.text.words import slug
from understudy.workspace import Workspace

ROOT = Path(__file__).resolve().parents[2]
PRESETS = ROOT / "deployments" / "presets"
STOP_SECONDS = 4.0


def parser() -> argparse.ArgumentParser:
    """The options of the command line."""
    p = argparse.ArgumentParser(
        prog="python flows/main.py",
        allow_abbrev=False,
        description="Turn a teacher's talks into a small local model that answers the way that teacher teaches, and "
        "score it against its base. Without options: the demo on the sample channel; needs no key, GPU or download.",
        epilog="Exit status: 0 done; 1 the run failed, run it again to go on; 2 something asked for cannot be done.",
    )
    p.add_argument(
        "--preset", metavar="NAME|FILE", help=f"one of {', '.join(_presets())}, or a YAML file (default: demo)"
    )
    p.add_argument(
        "--set",
        metavar="SECTION.KEY=VALUE",
        action="append",
        default=[],
        dest="changes",
        help="change one value of the preset, e.g. --set trainer.rank=16; may be repeated",
    )
    p.add_argument(
        "--documents",
        metavar="PATH",
        type=Path,
        help="use the talks in this folder (text, captions, html, docx, epub, pdf)",
    )
    p.add_argument(
        "--channel", metavar="URL_OR_HANDLE", help="use the talks of a YouTube channel, a playlist or a video"
    )
    p.add_argument(
        "--home", metavar="DIR", type=Path, default=ROOT, help="where data/ and models/ live (default: here)"
    )
    p.add_argument("--only", choices=["dataset", "model", "score"], help="run one part; the parts before must be done")
    p.add_argument(
        "--tune",
        action="store_true",
        help="before training, try 1, 3 and 9 times the learning rate for a while and take what does best on valid",
    )
    p.add_argument("--estimate", action="store_true", help="print what the teacher's calls would cost, and do nothing")
    p.add_argument("--json", action="store_true", help="print one JSON object as the last line of standard output")
    return p


def main(arguments: list[str] | None = None) -> int:
    """Run what the command line asks for; returns the exit status."""
    asked = parser().parse_args(arguments)
    try:
        workspace = _workspace(asked)
        if asked.estimate:
            return _estimate(workspace)
        preflight.check(workspace, asked.only)
        if who := preflight.busy(workspace):
            raise Busy(f"data/{workspace.config.name} is in use by {who}; wait until it ends, or choose another --home")
    except (ConfigError, Busy) as error:
        print(f"Nothing was started:\n{error}", file=sys.stderr)
        return 2
    log_file = workspace.home / "logs" / f"{workspace.config.name}-{time.strftime('%Y%m%d-%H%M%S')}.log"
    _stop_quickly_on_signals()
    os.chdir(ROOT)  # where Prefect looks for prefect.toml
    os.environ.setdefault("DO_NOT_TRACK", "1")
    return _run(workspace, asked, log_file)


def _estimate(workspace: Workspace) -> int:
    from understudy.stages import estimate

    print(estimate.told(workspace))
    return 0


def _run(workspace: Workspace, asked: argparse.Namespace, log_file: Path) -> int:
    try:
        with display.shown(log_file):
            outcome = _pipeline(workspace, asked.only)
    except KeyboardInterrupt:
        print("\nStopped. Finished work is kept; the same command goes on from there.", file=sys.stderr)
        _leave(130)
    except (ConfigError, Busy) as error:
        print(f"Nothing more was done:\n{error}", file=sys.stderr)
        return 2
    except UnderstudyError as error:
        return _failed(f"{type(error).__name__}: {error}", log_file)
    except Exception as error:
        with log_file.open("a", encoding="utf-8") as file:
            traceback.print_exc(file=file)
        return _failed(f"unexpected {type(error).__name__}: {error}.", log_file)
    _show(workspace, outcome, asked.json)
    return 0


def _pipeline(workspace: Workspace, only: Any) -> Any:
    logging.getLogger("understudy").info("%s: starting Prefect", workspace.config.name)
    from understudy import progress
    from understudy.flows.pipeline import pipeline
    from understudy.tasks import server
    from understudy.tasks.live import ProgressArtifacts

    server.check()
    _quiet_prefect()
    bars = ProgressArtifacts(workspace)
    progress.SINKS.append(bars)
    try:
        return pipeline(config=workspace.config, home=workspace.home, only=only)
    finally:
        progress.SINKS.remove(bars)


def _workspace(asked: argparse.Namespace) -> Workspace:
    problems = []
    if asked.channel and asked.documents:
        problems.append("--channel and --documents: take one of them")
    if asked.home.is_file():
        problems.append(f"--home {str(asked.home)!r} is a file, where a folder is needed")
    changes: dict[str, Any] = {}
    if asked.documents:
        changes |= {
            "source": {"use": "documents", "path": str(asked.documents.resolve())},
            "name": channel_name(asked.documents),
        }
    if asked.channel:
        changes |= {
            "source.channel": asked.channel,
            "name": slug(asked.channel.rstrip("/").split("/")[-1])[:60] or "channel",
        }
    if asked.tune:
        changes["tune.trials"] = 3
    for change in asked.changes:
        key, equals, value = change.partition("=")
        if not equals or not key.strip():
            problems.append(f"--set {change!r}: write it as section.key=value")
            continue
        try:
            changes[key.strip()] = yaml.safe_load(value)
        except yaml.YAMLError:
            problems.append(f"--set {key.strip()}: {value!r} cannot be read as YAML; is a bracket or a quote missing?")
    usual = "documents" if asked.documents else "channel" if asked.channel else "demo"
    try:
        found = config.load(_preset(asked.preset or usual), changes)
    except ConfigError as error:
        raise ConfigError([*problems, *error.problems]) from None
    if problems:
        raise ConfigError(problems)
    return Workspace(home=asked.home.resolve(), config=found)


def _preset(name: str) -> Path:
    file = Path(name)
    if file.suffix in (".yaml", ".yml") or file.is_file():
        return file
    if name not in _presets():
        raise ConfigError([f"unknown preset {name!r}{config.nearest(name, _presets())}"])
    return PRESETS / f"{name}.yaml"


def _presets() -> list[str]:
    return sorted(file.stem for file in PRESETS.glob("*.yaml"))


def _show(workspace: Workspace, outcome: Any, as_json: bool) -> None:
    result: dict[str, Any] = {"channel": workspace.config.name, "home": str(workspace.home), "run": None}
    result["counts"] = {"talks": workspace.ledger.counts()} | {
        name: getattr(outcome.dataset, name).rows for name in ("pairs", "train", "valid", "test")
    }
    if outcome.model:
        files = {kind: workspace.file(ref) for kind, ref in outcome.model.files.items()}
        result |= {"run": outcome.model.run, "files": {kind: str(file) for kind, file in files.items()}}
    if outcome.score:
        card, report = workspace.read(outcome.score.scorecard), workspace.file(outcome.score.report)
        result |= {
            "report": str(report),
            "verdicts": card.verdicts,
            "differences": {name: found.model_dump() for name, found in card.differences.items()},
        }
        result |= {"refused": outcome.score.refused, "how_to_run": outcome.score.how_to_run}
        print(display.summary(card, files, report, outcome.score.how_to_run, outcome.score.refused))
    else:
        print(display.made(workspace.config.name, result["counts"], result.get("files"), workspace.folder / "dataset"))
    if as_json:
        print(json.dumps(result))


def _failed(what: str, log_file: Path) -> int:
    print(
        f"The run failed. {what}\nThe log: {log_file}\nFinished work is kept: run the same command again to go on.",
        file=sys.stderr,
    )
    return 1


def _quiet_prefect() -> None:
    """Prefect's own lines and tracebacks go to the log file and the UI; the terminal gets our sentence instead."""
    for name in (None, "uvicorn", "fastapi"):
        for handler in logging.getLogger(name).handlers:
            if not os.environ.get("PREFECT_LOGGING_LEVEL"):
                handler.setLevel(logging.CRITICAL)


def _stop_quickly_on_signals() -> None:
    """The first Ctrl-C ends workers and unwinds; whatever still runs after STOP_SECONDS is left behind."""

    def stop(number: int, frame: Any) -> None:
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        threading.Thread(target=_leave_late, daemon=True).start()
        worker.stop_all()
        raise KeyboardInterrupt

    signal.signal(signal.SIGINT, stop)
    signal.signal(signal.SIGTERM, stop)
    # While a flow runs Prefect puts its own handler for SIGTERM, which then asks a server that may be gone too.
    told, tell = socket.socketpair()
    tell.setblocking(False)
    signal.set_wakeup_fd(tell.fileno(), warn_on_full_buffer=False)
    threading.Thread(target=_leave_when_told, args=(told, tell), daemon=True).start()


def _leave_when_told(told: socket.socket, tell: socket.socket) -> None:
    """`tell` is only held open: the number of every signal is written to it."""
    while signal.SIGTERM not in told.recv(64):
        pass
    worker.stop_all()
    _leave_late()


def _leave_late() -> None:
    time.sleep(STOP_SECONDS)
    print("\nStopped. Finished work is kept; the same command goes on from there.", file=sys.stderr)
    _leave(130)


def _leave(status: int) -> None:
    """End at once, with the temporary Prefect server; every write is atomic, so nothing is left half done."""
    if "prefect.server.api.server" in sys.modules:
        for server in list(sys.modules["prefect.server.api.server"].SubprocessASGIServer._instances.values()):
            if server.server_process:
                server.server_process.terminate()
    sys.stdout.flush()
    os._exit(status)


if __name__ == "__main__":
    raise SystemExit(main())
