"""Show what of a run would be uploaded to the Hugging Face Hub, ask for confirmation, and upload it.

Weights, GGUF files, card, scorecard and report are uploaded, never talks or the dataset. The token is HF_TOKEN or
that of `hf auth login`. A second call uploads only what changed.
"""

import json
import os
from argparse import ArgumentParser, Namespace
from collections import Counter
from collections.abc import Callable
from pathlib import Path

from pydantic import ValidationError

from understudy.catalog import CATALOG
from understudy.cli import Result, confirmed
from understudy.errors import ConfigError
from understudy.records import Scorecard
from understudy.report import size
from understudy.runs import clean, find, hub, model_card
from understudy.scoring.refusals import refused
from understudy.text import private
from understudy.text.words import counted

EXAMPLE = "understudy publish my-channel --repo owner/my-model"
PUBLIC_HUB = "https://huggingface.co"


def options(p: ArgumentParser) -> None:
    p.add_argument("channel", metavar="NAME", help="a folder under models/: its champion, else its newest run")
    p.add_argument("--repo", required=True, metavar="OWNER/NAME", help="the repository; created if it does not exist")
    p.add_argument("--run", metavar="RUN", help="another run, a folder under models/NAME")
    visibility = p.add_mutually_exclusive_group()
    visibility.add_argument("--private", action="store_true", help="only you can see it (the default)")
    visibility.add_argument("--public", action="store_true", help="everyone can see it")
    p.add_argument("--yes", action="store_true", help="do not ask")
    p.add_argument(
        "--force", action="store_true", help="even if the scorecard says 'worse', or private things were trained on"
    )


def main(args: Namespace) -> Result:
    """Upload after confirmation."""
    return publish(
        args.home / "models",
        args.channel,
        args.repo,
        run=args.run,
        private=not args.public,
        yes=args.yes,
        force=args.force,
    )


def publish(
    models: Path,
    channel: str,
    repository: str,
    *,
    run: str | None = None,
    private: bool = True,
    yes: bool = False,
    force: bool = False,
    ask: Callable[[str], str] = input,
) -> Result:
    """Upload a run of `channel` after confirmation. Raises ConfigError, Transient."""
    folder = find.run_folder(models, channel, run)
    reasons = refused(folder)
    files = hub.chosen(folder, _left_out(folder, reasons))
    _check(folder, files, repository, force)
    hub.token()
    plan = _plan(folder, files, repository, private, reasons)
    if not yes and not confirmed(f"{plan}\nUpload?", ask):
        return Result("Nothing was sent.", {"address": None}, status=1)
    outcome = hub.publish(files, repository, private)
    clean.mark_published(folder, outcome.address)
    lines = [plan] if yes else []
    lines.append(f"{outcome.address}: {len(outcome.sent)} of {len(files)} files sent, the others were already there")
    if outcome.removed:
        lines.append(f"removed there, no longer part of the model: {', '.join(outcome.removed)}")
    return Result("\n".join(lines), {"address": outcome.address, "sent": outcome.sent, "removed": outcome.removed})


def _check(folder: Path, files: dict[str, Path], repository: str, force: bool) -> None:
    """Raise ConfigError with every reason not to publish."""
    try:
        card = model_card.read(folder / "README.md")
        problems = hub.problems(files, folder, repository, card.permission, card.base_licence)
    except ConfigError as error:
        problems = error.problems
    worse = _worse(folder / "scorecard.json") if "scorecard.json" in files else []
    if found := {} if force else _private(folder):
        kinds = ", ".join(f"{kind} ({pairs})" for kind, pairs in found.items())
        problems.append(
            f"pairs that it was trained or asked on have private things: {kinds}; mask them and train again: gates: "
            "{use: private, mask: true}; --force publishes it anyway"
        )
    if worse and not force:
        problems.append(f"the scorecard says worse than the base in {', '.join(worse)}; --force publishes it anyway")
    if problems:
        raise ConfigError(problems)


def _private(folder: Path) -> dict[str, int]:
    """What the dataset, and the answers that the report shows, hold of other people, by kind."""
    home, channel = folder.parents[2], folder.parent.name
    described = home / CATALOG["description"].path.format(channel=channel) / "description.json"
    counts = Counter[str]()
    if described.is_file():
        counts.update(json.loads(described.read_text(encoding="utf-8")).get("private", {}))
    for file in (folder / "samples").glob("*.jsonl"):
        samples = (json.loads(line) for line in file.read_text(encoding="utf-8").splitlines())
        counts.update(kind for sample in samples for kind in private.found(sample.get("text") or ""))
    return dict(counts)


def _worse(file: Path) -> list[str]:
    try:
        card = Scorecard.model_validate_json(file.read_text(encoding="utf-8"))
    except (OSError, ValidationError, ValueError):
        raise ConfigError([f"{file} cannot be read as a scorecard; score the model again"]) from None
    return [name for name, word in card.verdicts.items() if word == "worse"]


def _left_out(folder: Path, reasons: dict[str, str]) -> set[str]:
    """Names of the files that are not uploaded because the parity check refused them."""
    names = {file.name for kind, file in find.files(folder).items() if kind in reasons}
    names |= {Path(name).with_suffix(".Modelfile").name for name in names}
    if "fused" in reasons:
        names |= {file.name for file in (folder / "fused").glob("*")}
    return names


def _plan(folder: Path, files: dict[str, Path], repository: str, private: bool, reasons: dict[str, str]) -> str:
    """What would go where, as text."""
    where = (os.environ.get("HF_ENDPOINT") or PUBLIC_HUB).rstrip("/")
    card = model_card.read(folder / "README.md")
    width = max(map(len, files))
    total = sum(file.stat().st_size for file in files.values())
    visibility = "private" if private else "PUBLIC"
    return "\n".join(
        [
            f"{folder.parent.name}/{folder.name} would go to {where}/{repository}, {visibility}:",
            *(f"  {place:<{width}}  {size(file.stat().st_size):>10}" for place, file in files.items()),
            *(f"  left out, refused: {kind}: {why}" for kind, why in reasons.items()),
            f"{counted(len(files), 'file')}, {size(total)}; permission: {card.permission}; "
            f"the base's licence: {card.base_licence}",
            "report.html shows held-out questions with their answers. No transcript and no dataset is uploaded; files "
            "of an earlier upload that are no longer part of the model are removed.",
        ]
    )
