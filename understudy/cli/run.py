"""Turn talks into a dataset, a tuned model and its scorecard.

Without options: the demo on the sample channel, which needs no key, no GPU and no download. Finished work is kept:
the same command resumes after a failure, and makes only what has changed.
"""

import logging
import os
import platform
import shlex
import sys
import time
from argparse import ArgumentParser, Namespace
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from importlib import metadata
from pathlib import Path
from typing import Any

import yaml

from understudy import config, memory, preflight
from understudy.cli import Result, display, stopping
from understudy.deployments import packaged
from understudy.errors import Busy, ConfigError, UnderstudyError
from understudy.runs import local_teacher, local_trainer
from understudy.runs.changes import Changes
from understudy.workspace import Workspace

log = logging.getLogger("understudy.run")
EXAMPLE = "understudy run --documents talks/ --set trainer.rank=16"


def options(p: ArgumentParser) -> None:
    p.add_argument("--preset", metavar="NAME|FILE", help=f"one of {', '.join(packaged.presets())}, or a YAML file "
                   "(default: demo)")  # fmt: skip
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
        "--pairs",
        metavar="FILE",
        type=Path,
        help="tune on questions and answers of your own (csv; json or jsonl as chat, alpaca, sharegpt)",
    )
    p.add_argument(
        "--channel",
        metavar="URL_OR_HANDLE",
        action="append",
        help="use the talks of a YouTube channel, a playlist or a video; again for another one of the same teacher",
    )
    p.add_argument("--podcast", metavar="FEED", help="use the episodes of a podcast, by the address of its RSS feed")
    p.add_argument("--base", metavar="NAME|FOLDER|FILE", help="the model to tune: --set base=...")
    p.add_argument("--teacher", metavar="NAME", help="who writes questions and answers: --set teacher.use=...")
    p.add_argument("--model", metavar="NAME", help="the teacher's model: --set teacher.model=...")
    p.add_argument(
        "--only", choices=["dataset", "model", "score"], help="run one part; the parts before it must be complete"
    )
    p.add_argument(
        "--tune",
        action="store_true",
        help="before training, try 1, 3 and 9 times the learning rate briefly and take the best on valid",
    )
    p.add_argument(
        "--estimate", action="store_true", help="print what the teacher's calls would cost, and do nothing else"
    )


def main(args: Namespace) -> Result | int:
    """Run the pipeline."""
    try:
        workspace = _workspace(args)
        _read_keys(workspace.home)
        known = local_trainer.resolved(
            local_teacher.resolved(workspace)
        )  # the run itself chooses for good, and notes it
        if args.estimate:
            from understudy.cli import doctor
            from understudy.stages import estimate_page

            text = estimate_page.estimate_page(known, partial(doctor.training, known.config))
            return Result(text, {"channel": workspace.config.name, "estimate": text})
        preflight.check(known, args.only)
        if holder := preflight.busy(workspace):
            raise Busy(
                f"data/{workspace.config.name} is in use by {holder}; wait until it ends, or choose another --home"
            )
    except (ConfigError, Busy) as error:
        print(f"Nothing was started:\n{error}", file=sys.stderr)
        return 2
    log_file = workspace.home / "logs" / f"{workspace.config.name}-{time.strftime('%Y%m%d-%H%M%S')}.log"
    stopping.stop_on_signals()
    packaged.configure_prefect(home=workspace.home)
    return _run(workspace, args, log_file)


def _run(workspace: Workspace, args: Namespace, log_file: Path) -> Result | int:
    try:
        with display.shown(log_file, args.log_level, "starting Prefect") as add_prefect:
            begin(workspace, args.only)
            try:
                outcome = _pipeline(workspace, args.only, add_prefect)
            except Exception:
                log.debug("where it failed:", exc_info=True)  # for the file: the terminal gets a sentence
                raise
    except KeyboardInterrupt:
        stopping.leave()
    except (ConfigError, Busy) as error:
        print(f"Nothing more was done:\n{error}\nThe log: {log_file}", file=sys.stderr)
        return 2
    except UnderstudyError as error:
        return _failed(f"{type(error).__name__}: {error}", log_file)
    except Exception as error:
        return _failed(f"unexpected {type(error).__name__}: {error}.", log_file)
    return _result(workspace, outcome)


def begin(workspace: Workspace, only: str | None) -> None:
    """Log what the run is made of, for a later reader of the log: program, machine, command and every setting."""
    log.debug("understudy %s, Python %s on %s", metadata.version("understudy"), platform.python_version(),
              platform.platform())  # fmt: skip
    log.debug("%d cores, %.1f GB of memory, %.1f GB of it free; home %s", os.cpu_count() or 0,
              memory.physical_bytes() / 1e9, memory.free_bytes() / 1e9, workspace.home)  # fmt: skip
    log.debug("command: %s", shlex.join(sys.argv))
    log.debug("part: %s", only or "all")
    settings = workspace.config.model_dump(mode="json")
    settings |= {key: "(set, not shown)" for key in config.ADDRESSES if settings.get(key)}
    for line in yaml.safe_dump(settings, sort_keys=False, allow_unicode=True).splitlines():
        log.debug("settings: %s", line)


def _pipeline(workspace: Workspace, only: preflight.Only | None, add_prefect: Callable[[], None]) -> Any:
    log.info("%s: starting Prefect", workspace.config.name)
    from understudy import progress
    from understudy.flows.pipeline import pipeline
    from understudy.tasks import server
    from understudy.tasks.live import ProgressArtifacts

    server.check()
    _quiet_prefect()
    add_prefect()
    server.start_temporary()
    if os.environ.get("PREFECT_HOME") == str(packaged.prefect_files(workspace.home)) and (
        profile := packaged.profile_server()
    ):
        log.info("Prefect's profile %r names a server, which this run does not use; to use it: PREFECT_API_URL=%s",
                 *profile)  # fmt: skip
    bars = ProgressArtifacts(workspace)
    progress.SINKS.append(bars)
    try:
        return pipeline(config=workspace.config, home=workspace.home, only=only)
    finally:
        progress.SINKS.remove(bars)


def _workspace(args: Namespace) -> Workspace:
    """The preset with the changes of the command line. Raises ConfigError with every problem at once."""
    problems = []
    short = Changes(
        documents=str(args.documents) if args.documents else None,
        pairs=str(args.pairs) if args.pairs else None,
        channel=" ".join(args.channel) if args.channel else None,
        podcast=args.podcast,
        teacher=args.teacher,
        model=args.model,
        base=args.base,
    )
    try:
        changes = short.settings(args.home)
    except ConfigError as error:
        problems += error.problems
        changes = {}
    if args.tune:
        changes["tune.trials"] = 3
    for change in args.changes:
        key, equals, value = change.partition("=")
        if not equals or not key.strip():
            problems.append(f"--set {change!r}: write it as section.key=value")
            continue
        try:
            changes[key.strip()] = yaml.safe_load(value)
        except yaml.YAMLError:
            problems.append(f"--set {key.strip()}: {value!r} cannot be read as YAML; is a bracket or a quote missing?")
    default = "channel" if args.channel or args.podcast else "documents" if args.documents or args.pairs else None
    if default is None and args.preset is None:
        default, notice = packaged.default_preset()
        if notice:
            print(notice, file=sys.stderr)
    try:
        preset = config.load(packaged.preset(args.preset or str(default)), changes)
    except ConfigError as error:
        raise ConfigError([*problems, *error.problems]) from None
    if problems:
        raise ConfigError(problems)
    return Workspace(home=args.home, config=preset)


def _read_keys(home: Path) -> None:
    """Load API keys from .env in the home folder; a teacher reads the one in the current folder itself."""
    if (home / ".env").is_file() and home != Path.cwd():
        from dotenv import load_dotenv

        load_dotenv(home / ".env")


def _result(workspace: Workspace, outcome: Any) -> Result:
    """The result of the run, as text and as JSON."""
    data: dict[str, Any] = {"channel": workspace.config.name, "home": str(workspace.home), "run": None}
    data["counts"] = {"talks": workspace.ledger.counts()} | {
        name: getattr(outcome.dataset, name).rows for name in ("pairs", "train", "valid", "test")
    }
    if outcome.model:
        files = {kind: workspace.file(ref) for kind, ref in outcome.model.files.items()}
        data |= {"run": outcome.model.run, "files": {kind: str(file) for kind, file in files.items()}}
    if not outcome.score:
        unit = workspace.config.plugin("recipe").UNIT
        folder = workspace.folder / "dataset"
        text = display.of_part(workspace.config.name, unit, data["counts"], data.get("files"), folder)
        return Result(text + _draft(workspace), data)
    score, card, report = outcome.score, workspace.read(outcome.score.scorecard), workspace.file(outcome.score.report)
    data |= {
        "report": str(report),
        "verdicts": card.verdicts,
        "differences": {name: difference.model_dump() for name, difference in card.differences.items()},
        "refused": score.refused,
        "how_to_run": score.how_to_run,
    }
    from understudy.cli import ending  # here, so that the first line of a run does not wait for it
    from understudy.report.evidence import gather

    shown = gather(workspace.home, workspace.config.name, outcome.model.run)
    return Result(ending.text(shown, files, report, score.how_to_run, score.refused) + _draft(workspace), data)


def _draft(workspace: Workspace) -> str:
    """What the free teacher could make of the talks, on lines of its own."""
    from understudy.stages import estimate_page

    with suppress(ConfigError):  # a model that was asked and has been stopped since
        if text := estimate_page.draft(local_teacher.resolved(workspace)):
            return f"\n\n{text}"
    return ""


def _failed(what: str, log_file: Path) -> int:
    print(
        f"The run failed. {what}\nThe log: {log_file}\nFinished work is kept: the same command resumes from there.",
        file=sys.stderr,
    )
    return 1


def _quiet_prefect() -> None:
    """Prefect's own lines and tracebacks go to the log file and the UI; the terminal shows our message instead."""
    for name in (None, "uvicorn", "fastapi"):
        for handler in logging.getLogger(name).handlers:
            if not os.environ.get("PREFECT_LOGGING_LEVEL"):
                handler.setLevel(logging.CRITICAL)
