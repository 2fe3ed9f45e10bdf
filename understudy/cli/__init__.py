"""
The command `understudy`: `main` runs one verb, and each verb is a module of its own.

Such a module has EXAMPLE, `main`, which does the work, `options`, which adds the options of the verb to a parser, if it
has any, and `default_home` where --home is not simply the current folder by default. Its docstring is the help. Only
the module of the verb at hand is imported, so that `understudy --help` is fast.
"""

import argparse
import difflib
import importlib
import json
import logging
import re
import shlex
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple, NoReturn

from understudy.errors import UnderstudyError

VERBS = {
    "run": ("run", "turn talks into a dataset, a tuned model and its scorecard"),
    "status": ("status", "how many talks are in which state and why, and the disk in use"),
    "retry": ("retry", "request talks again in the next run"),
    "forget": ("forget", "delete talks and everything made from them, permanently"),
    "import": ("import_captions", "copy caption files into a YouTube channel"),
    "review": ("review", "look through the pairs in a browser: reject, restore, edit"),
    "compare": ("compare", "choose between base and tuned model, blind, in a browser"),
    "compare-runs": ("compare_runs", "two scorecards side by side"),
    "chat": ("chat", "talk to a tuned model in the terminal"),
    "serve": ("serve", "serve a tuned model over OpenAI's API"),
    "publish": ("publish", "upload a model to the Hugging Face Hub, after confirmation"),
    "doctor": ("doctor", "what this machine trains on, how fast, and which bases fit"),
    "combine": ("combine", "one dataset of the gold sets of several channels of manuals"),
    "rerun": ("rerun", "train a run again from its record, and compare the losses"),
    "record": ("record", "write a teacher's replies to a file, for the teacher `replay`"),
    "push": ("push", "upload a channel's talks and models to s3://, gs:// or file://"),
    "pull": ("pull", "download a channel's talks and models from there"),
    "deploy": ("understudy.deployments.deploy", "start a Prefect server, a worker and the schedule of a channel"),
    "undeploy": ("understudy.deployments.undeploy", "stop what `deploy` started"),
    "rollback": ("rollback", "go back to the champion before this one"),
    "clean": ("clean", "delete the heavy files of old runs"),
}
"""Verb -> its module (in this package, or by its full name) and its help line."""
OTHER_WORDS = {
    "train": "run --only model", "tune": "run --tune", "start": "run", "demo": "run", "resume": "run",
    "dataset": "run --only dataset", "score": "run --only score", "evaluate": "run --only score",
    "estimate": "run --estimate", "export": "run --only model", "list": "status", "ls": "status", "models": "status",
    "talks": "status", "delete": "forget ID", "remove": "forget ID", "rm": "forget ID", "talk": "chat", "ask": "chat",
    "upload": "publish NAME --repo OWNER/NAME", "check": "doctor", "diff": "compare-runs A B", "stop": "undeploy",
    "help": "--help", "version": "--version",
}  # fmt: skip
"""What people type for a verb -> what to type."""
EXIT_STATUS = "Exit status: 0 done; 1 it failed, run it again to resume; 2 the request is invalid; 130 stopped."


class Result(NamedTuple):
    """What a verb prints: `data` with --json, else `text`."""

    text: str
    data: object
    status: int = 0


class Parser(argparse.ArgumentParser):
    """A parser whose errors are one sentence that names the nearest option."""

    def error(self, message: str) -> NoReturn:
        """Print `message` with the nearest option, and exit with status 2."""
        if unknown := re.match(r"unrecognized arguments: (-[^\s=]+)", message):
            message = f"unknown option {unknown[1]!r}{nearest(unknown[1], list(self._option_string_actions))}"
        elif extra := re.match(r"unrecognized arguments: (.+)", message):
            message = f"{extra[1]!r} is one word too many; put quotes around a path with spaces"
        self.exit(2, f"{self.prog}: {message}\nFor help: {self.prog} --help\n")


class _Version(argparse.Action):
    def __call__(self, parser: argparse.ArgumentParser, *_: Any) -> NoReturn:
        from importlib.metadata import version

        print(f"understudy {version('understudy')}")
        parser.exit(0)


def main(arguments: Sequence[str] | None = None, home: Path | None = None) -> int:
    """Run one verb; returns the exit status. `home` is the default of --home, else the current folder."""
    try:
        args, verb = _parsed(arguments)
        known = getattr(verb, "default_home", lambda _: None)
        args.home = (args.home or known(args) or home or Path.cwd()).resolve()
        if args.home.is_file():
            raise UnderstudyError(f"--home {str(args.home)!r} is a file, where a folder is needed")
        from understudy.channel import home as home_format  # here, since --help needs none of it

        home_format.check(args.home)
        if args.json and not getattr(verb, "JSON", True):
            raise UnderstudyError(f"understudy {args.verb} is used by a person; it has no --json")
        if args.log_level == logging.DEBUG and args.verb not in ("run", "rerun"):  # which show progress as well
            logging.basicConfig(level=logging.INFO, format="%(message)s")
        result: Result | int = verb.main(args)
    except UnderstudyError as error:
        print(error, file=sys.stderr)
        return 2
    except ModuleNotFoundError as error:
        print(f"{error.name} is not installed for {sys.executable}; run `make setup`, or: pip install understudy",
              file=sys.stderr)  # fmt: skip
        return 2
    except KeyboardInterrupt:
        print("\nStopped.", file=sys.stderr)
        return 130
    if isinstance(result, int):
        return result
    if text := json.dumps(result.data) if args.json else result.text:
        print(text)
    return result.status


def nearest(word: str, known: list[str]) -> str:
    """'; did you mean X?' or the list of choices."""
    from understudy.registry import nearest

    return nearest(word, known)


def confirmed(question: str, ask: Callable[[str], str] = input) -> bool:
    """Whether the answer is yes; no when there is no terminal."""
    try:
        return ask(f"{question} [y/N] ").strip().lower() in ("y", "yes")
    except (EOFError, OSError):
        return False


def _parsed(arguments: Sequence[str] | None) -> tuple[argparse.Namespace, Any]:
    """The arguments and the module of the verb."""
    top = _parser("understudy", "Turn a teacher's talks into a small local model that answers the way that teacher "
                  "teaches.", "Example: understudy run --documents talks/")  # fmt: skip
    width = max(map(len, VERBS))
    top.epilog = "verbs:\n" + "\n".join(f"  {verb:<{width}}  {about}" for verb, (_, about) in VERBS.items()) + (
        f"\n\n`understudy VERB --help` shows the options of a verb.\n{top.epilog}\n{EXIT_STATUS}"
    )  # fmt: skip
    top.add_argument("verb", nargs="?", metavar="VERB", help="one of those below")
    top.add_argument("rest", nargs=argparse.REMAINDER, help=argparse.SUPPRESS)
    args, unknown = top.parse_known_args(arguments)
    if unknown:
        if args.verb not in VERBS and not difflib.get_close_matches(unknown[0], list(top._option_string_actions)):
            typed = shlex.join(sys.argv[1:] if arguments is None else arguments)
            top.error(f"{unknown[0]} is no option without a verb; if you mean to run, type: understudy run {typed}")
        top.error(f"unrecognized arguments: {unknown[0]}")
    if args.verb is None:
        top.print_help(sys.stderr)
        raise SystemExit(2)
    if args.verb not in VERBS:
        top.error(_no_verb(args.verb))
    parser, module = parser_of(args.verb)
    rest = args.rest
    del args.rest
    return parser.parse_args(rest, args), module


def parser_of(verb: str) -> tuple[Parser, Any]:
    """The parser of one verb, and its module."""
    name = VERBS[verb][0]
    module = importlib.import_module(name if "." in name else f"understudy.cli.{name}")
    parser = _parser(f"understudy {verb}", module.__doc__ or "", f"Example: {module.EXAMPLE}\n{EXIT_STATUS}")
    if add_options := getattr(module, "options", None):
        add_options(parser)
    return parser, module


def _no_verb(word: str) -> str:
    """What to type instead of a verb that does not exist."""
    if other := OTHER_WORDS.get(word.lower()):
        return f"there is no verb {word!r}; type: understudy {other}"
    if Path(word).exists():
        kind = "--documents" if Path(word).is_dir() else "--preset"
        return f"there is no verb {word!r}; to use it, type: understudy run {kind} {word}"
    return f"there is no verb {word!r}{nearest(word, list(VERBS))}"


def _parser(program: str, about: str, epilog: str) -> Parser:
    """A parser with the options that every verb has."""
    p = Parser(
        prog=program,
        description=about.strip(),
        epilog=epilog,
        allow_abbrev=False,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    p.add_argument("--home", type=Path, metavar="DIR", help="the folder of data/ and models/ (default: this folder)")
    p.add_argument("--json", action="store_true", help="print one JSON object")
    p.add_argument("--verbose", action="store_const", dest="log_level", const=logging.DEBUG, help="show more log lines")
    p.add_argument("--quiet", action="store_const", dest="log_level", const=logging.WARNING, help="show warnings only")
    p.add_argument("--version", action=_Version, nargs=0, help="print the version")
    p.set_defaults(log_level=logging.INFO)
    return p
