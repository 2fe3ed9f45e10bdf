"""Show two scorecards side by side, where both were made on the same held-out rows."""

import sys
from argparse import ArgumentParser, Namespace
from pathlib import Path

from understudy.cli import Result
from understudy.cli.compare import scorecard
from understudy.report import compare_runs as runs

EXAMPLE = "understudy compare-runs my-channel/1f2e3d my-channel/4c5b6a"


def options(p: ArgumentParser) -> None:
    p.add_argument("first", metavar="A", help="NAME/RUN, a run, its folder or its scorecard.json")
    p.add_argument("second", metavar="B", help="the other one")
    p.add_argument("--html", type=Path, metavar="FILE", help="write a page instead")


def main(args: Namespace) -> Result:
    """Compare. Raises UnderstudyError when the scorecards cannot be compared."""
    models = args.home / "models"
    comparison = runs.compare_runs(scorecard(models, args.first), scorecard(models, args.second))
    data = comparison.model_dump(mode="json")
    if args.html:
        args.html.write_text(runs.html(comparison), encoding="utf-8")
        return Result(str(args.html), data)
    text = runs.markdown(comparison).rstrip("\n")
    if sys.stdout.isatty() and not args.json:
        from rich.console import Console
        from rich.markdown import Markdown

        Console().print(Markdown(text))
        text = ""
    return Result(text, data)
