"""All problems of a run at once, before its first second of work; nothing is written."""

import os
import shutil
from pathlib import Path
from typing import Any, Literal

from understudy import locks, memory
from understudy.calls import judging, verifying
from understudy.channel import home
from understudy.errors import AssetError, ConfigError
from understudy.graph import Graph
from understudy.records import Combined
from understudy.runs import elsewhere, trials
from understudy.scoring.suites import retrieval
from understudy.sources import sections, several
from understudy.stages import augment, compose
from understudy.workspace import Workspace

FREE_BYTES = 500 * 1000 * 1000
PERMISSION = (
    "permission: state your right to these talks: owned, permitted, public_domain or own_risk "
    "(--set permission=owned). "
)
Only = Literal["dataset", "model", "score"]


def check(workspace: Workspace, only: Only | None = None) -> None:
    """Raise ConfigError with everything that would stop this run later."""
    home.check(workspace.home)
    problems = [
        *_home(workspace),
        *(elsewhere.problems(workspace.config) if only in (None, "model") else ()),
        *_plugins(workspace, only),
        *_memory(workspace, only),
        *_export(workspace, only),
        *(_ledger(workspace) or _other_talks(workspace)),
        *_parts_before(workspace, only),
        *_combined(workspace, only),
    ]
    if problems:
        raise ConfigError(list(dict.fromkeys(problems)))


def busy(workspace: Workspace) -> str | None:
    """The process or machine that is running this channel, for a message; None when the channel is free."""
    return locks.holder(workspace.lock)


def _home(workspace: Workspace) -> list[str]:
    problems = []
    for name in ("data", "models"):
        folder = workspace.home / name / workspace.config.name
        while not folder.exists() and folder != folder.parent:
            folder = folder.parent
        if not folder.is_dir():
            problems.append(f"{folder} is a file, where a folder is needed; choose another --home")
        elif not os.access(folder, os.W_OK | os.X_OK):
            problems.append(f"{folder} cannot be written to; choose another --home")
        elif name == "data" and shutil.disk_usage(folder).free < FREE_BYTES:
            free = shutil.disk_usage(folder).free // 1_000_000
            problems.append(f"only {free} MB free at {folder}; a run needs at least {FREE_BYTES // 1_000_000} MB")
    return problems


def _plugins(workspace: Workspace, only: Only | None) -> list[str]:
    needed = {
        None: ("source", "teacher", "base", "trainer"),
        "dataset": ("source", "teacher"),
        "model": ("base", "trainer"),
        "score": (),
    }[only]
    if workspace.config.machine.pool:  # the machine that trains says what it lacks
        needed = tuple(kind for kind in needed if kind != "trainer")
    sources = list(several.built(workspace.config, workspace.folder).values())
    plugins = [
        plugin for kind in needed for plugin in (sources if kind == "source" else [workspace.config.plugin(kind)])
    ]
    problems = [problem for plugin in plugins for problem in plugin.problems()]
    if workspace.config.verify.use != "none" and only in (None, "dataset"):
        problems += verifying.problems(workspace.config.plugin("teacher", workspace.config.verify))
    if workspace.config.augment.on and only in (None, "dataset"):
        problems += augment.problems(workspace.config.augment, workspace.config.plugin("teacher"))
        if workspace.config.augment.replay and workspace.config.plugin("base").needs_talks:
            problems.append(
                "augment.replay: a base made from these talks has no general answers to preserve; set it to 0"
            )
    if workspace.config.composes and only in (None, "dataset"):
        recipe = workspace.config.plugin("recipe")
        problems += compose.problems(recipe, workspace.config.plugin("teacher"))
        if workspace.config.augment.out_of_scope and recipe.retrieves:
            problems.append("augment.out_of_scope: recipe.shares.refusal has such questions already; set it to 0")
    if (items := workspace.config.evaluate.retrieval) and only in (None, "score"):
        problems += _unreadable(items)
    judge = workspace.config.evaluate.judge
    if judge.on and only in (None, "score"):
        problems += judging.problems(workspace.config.plugin("teacher", judge))
    notices = list(dict.fromkeys(source.notice for source in sources if source.notice))
    if notices and workspace.config.permission is None:
        problems.append(PERMISSION + ". ".join(notices))
    return problems


def _unreadable(items: Path) -> list[str]:
    try:
        retrieval.load(items)
    except ConfigError as error:
        return error.problems
    return []


def _memory(workspace: Workspace, only: Only | None) -> list[str]:
    """A base that can never be tuned here, as its config.json alone shows; none where a GPU has its own memory."""
    if only in ("dataset", "score") or workspace.config.machine.pool or shutil.which("nvidia-smi"):
        return []
    sizes = workspace.config.plugin("base").sizes()
    problem = memory.cannot_fit(sizes) if sizes else None
    return [problem] if problem else []


def _export(workspace: Workspace, only: Only | None) -> list[str]:
    """Wrong names of types, and a base on this machine that could not be written after it was trained."""
    exporter: Any = workspace.config.exporter()
    problems: list[str] = exporter.problems(workspace.config.export.types)
    base = workspace.config.plugin("base")
    folder = base.folder() if only in (None, "model") else None
    if folder and not problems and not base.problems():
        problems = [f"base: {problem}" for problem in exporter.unwritable(folder)]
    return problems


def _combined(workspace: Workspace, only: Only | None) -> list[str]:
    """A dataset that was combined of others, which a run would build from another source."""
    ref = workspace.latest("combined") if only in (None, "dataset") else None
    if ref is None:
        return []
    known: Combined = workspace.read(ref)
    name, sets = workspace.config.name, [one.channel for one in known.sets]
    return [
        f"{name} was combined of {' and '.join(sets)}: run it with --only model, then with --only score; where those "
        f"have grown, first: understudy combine {' '.join(sets)} --name {name}"
    ]


def _ledger(workspace: Workspace) -> list[str]:
    try:
        workspace.ledger.counts()
    except AssetError as error:
        return [str(error)]
    return []


def _other_talks(workspace: Workspace) -> list[str]:
    """A folder whose name another folder's channel has: none of the talks known by that name are in it."""
    source = workspace.config.source
    if source.use != "documents" or not workspace.folder.exists():
        return []
    path = Path(str(source.options.get("path", "")))
    if workspace.config.reading:
        here = sections.manuals(workspace.folder)
        known = {entry.document_id for entry, _ in workspace.config.plugin("source").list_talks()} if here else set()
    else:
        here = [row.locator for row in workspace.ledger.of("").rows() if row.status == "ok"]
        known = {locator for locator in here if (path / locator).exists()}
    if not here or not path.is_dir() or known.intersection(here):
        return []
    name = workspace.config.name
    return [
        f"name: data/{name} holds talks of another folder ({here[0]} and others are not in {path}); give this "
        f"one another name: --set name={name}-2, or delete the other: understudy forget --channel {name}"
    ]


def _parts_before(workspace: Workspace, only: Only | None) -> list[str]:
    """What --only model and --only score build on."""
    try:
        if only in ("model", "score") and workspace.config.remote is None:  # else they may be pulled yet
            dataset = Graph(workspace).on_disk()
            if only == "score":
                trials.finished(workspace, dataset).model()
    except ConfigError as error:
        return error.problems
    return []
