"""`python -m understudy publish`: what would go where, by what right, and the question before anything leaves."""

import os
from collections.abc import Callable
from pathlib import Path

from pydantic import ValidationError

from understudy.errors import ConfigError
from understudy.records import Scorecard
from understudy.runs import find, hub, model_card
from understudy.scoring.refusals import refused

PUBLIC_HUB = "https://huggingface.co"


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
) -> int:
    """Upload a run of `channel` after asking; returns the exit status. Raises ConfigError, Transient."""
    folder = find.run_folder(models, channel, run)
    reasons = refused(folder)
    files = hub.chosen(folder, _left_out(folder, reasons))
    _allowed(folder, files, repository, force)
    hub.token()
    print(_plan(folder, files, repository, private, reasons))
    if not yes:
        try:
            said = ask("Upload? [y/N] ")
        except (EOFError, KeyboardInterrupt):
            said = ""
            print()
        if said.strip().lower() not in ("y", "yes"):
            print("Nothing was sent.")
            return 1
    done = hub.publish(files, repository, private)
    print(f"{done.address}: {len(done.sent)} of {len(files)} files sent, the others were there already")
    if done.removed:
        print(f"removed there, no longer part of the model: {', '.join(done.removed)}")
    return 0


def _allowed(folder: Path, files: dict[str, Path], repository: str, force: bool) -> None:
    """Raise ConfigError with everything that stands against it."""
    found = []
    permission, licence = None, None
    try:
        told = model_card.read(folder / "README.md")
        permission, licence = told.permission, told.base_licence
        found = hub.problems(files, folder, repository, permission, licence)
    except ConfigError as error:
        found = error.problems
    worse = _worse(folder / "scorecard.json") if "scorecard.json" in files else []
    if worse and not force:
        found.append(f"the scorecard says worse than the base in {', '.join(worse)}; --force publishes it all the same")
    if found:
        raise ConfigError(found)


def _worse(file: Path) -> list[str]:
    try:
        card = Scorecard.model_validate_json(file.read_text(encoding="utf-8"))
    except (OSError, ValidationError, ValueError):
        raise ConfigError([f"{file} cannot be read as a scorecard; score the model again"]) from None
    return [name for name, word in card.verdicts.items() if word == "worse"]


def _left_out(folder: Path, reasons: dict[str, str]) -> set[str]:
    """Names of the files that stay because the parity check refused them."""
    names = {file.name for kind, file in find.files(folder).items() if kind in reasons}
    names |= {Path(name).with_suffix(".Modelfile").name for name in names}
    if "fused" in reasons:
        names |= {file.name for file in (folder / "fused").glob("*")}
    return names


def _plan(folder: Path, files: dict[str, Path], repository: str, private: bool, reasons: dict[str, str]) -> str:
    """What would go where, as text."""
    where = (os.environ.get("HF_ENDPOINT") or PUBLIC_HUB).rstrip("/")
    told = model_card.read(folder / "README.md")
    width = max(map(len, files))
    total = sum(file.stat().st_size for file in files.values())
    seen = "private" if private else "PUBLIC"
    return "\n".join(
        [
            f"{folder.parent.name}/{folder.name} would go to {where}/{repository}, {seen}:",
            *(f"  {place:<{width}}  {file.stat().st_size / 1e6:>10,.1f} MB" for place, file in files.items()),
            *(f"  left out, refused: {kind}: {why}" for kind, why in reasons.items()),
            f"{len(files)} files, {total / 1e6:,.1f} MB; permission: {told.permission}; "
            f"the base's licence: {told.base_licence}",
            "report.html shows held-out questions with their answers. No transcript and no dataset goes; what an "
            "earlier upload left of the model there and is no longer part of it is removed.",
        ]
    )
