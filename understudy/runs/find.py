"""
Which run and which file is meant, when a person names a channel, a run, a file or nothing.

The champion comes before the newest run, a small file before a large one, and a file that the parity check
refused is given only with --force.
"""

import difflib
import re
from pathlib import Path

from understudy.errors import ConfigError, UnderstudyError
from understudy.gguf.header import describe
from understudy.runs import champion
from understudy.scoring.refusals import refused
from understudy.text import words

_TYPE = re.compile(r"-((?:B?F16|F32|I?Q\d|TQ\d|MXFP4)\w*)\.gguf$")


def run_folder(models: Path, channel: str, run: str | None = None) -> Path:
    """The folder of `run`, else of the champion, else of the newest run of `channel`. Raises UnderstudyError."""
    runs = _runs(models / channel) if words.slug(channel) == channel else {}
    if not runs:
        known = sorted(f.name for f in models.glob("*") if _runs(f))
        near = difflib.get_close_matches(channel, known, n=1)
        maybe = f"did you mean {near[0]}? " if near else ""
        raise UnderstudyError(
            f"no model of {channel!r} under {models}; {maybe}channels that have one: {', '.join(known) or 'none yet'}"
        )
    if run == champion.LINK or (run is None and champion.current(models / channel)):
        chosen = champion.current(models / channel)
        if chosen is None:
            raise UnderstudyError(f"{channel} has no champion; its runs are: {', '.join(sorted(runs))}")
        return chosen
    if run is None:
        return max(runs.values(), key=lambda folder: max(f.stat().st_mtime for f in files(folder).values()))
    if run not in runs:
        raise UnderstudyError(f"no run {run!r} of {channel}; there are: {', '.join(sorted(runs))}")
    return runs[run]


def files(run: Path) -> dict[str, Path]:
    """Type > exported file of a run, the smallest first. An adapter alone is none of them."""
    matches = ((_TYPE.search(file.name), file) for file in (run / "gguf").glob("*.gguf"))
    typed = {match[1]: file for match, file in matches if match and not file.name.startswith(".")}
    return dict(sorted(typed.items(), key=lambda item: item[1].stat().st_size))


def gguf(models: Path, model: str | None, force: bool = False) -> Path:
    """The GGUF file that `model` means: a file, 'channel', 'channel/run', 'run', or None for the newest of all.

    Raises UnderstudyError when there is none, it was refused and not forced, or it is no whole GGUF file.
    """
    named = Path(model) if model else None
    if named and (named.suffix == ".gguf" or named.is_file()):
        if not named.is_file():
            raise UnderstudyError(f"there is no file {model}; name a GGUF file, or a channel that has a model")
        file = named.resolve()
    else:
        file = _of_run(_meant(models, model), force)
    match = _TYPE.search(file.name)
    why = refused(file.parents[1]).get(match[1]) if match and file.parent.name == "gguf" else None
    if why and not force:
        raise UnderstudyError(f"{file.name} is not offered: {why}; take another file, or this one with --force")
    if file.open("rb").read(4) != b"GGUF":
        raise ConfigError([f"{file} is not a GGUF file; take one whose name ends in .gguf"])
    describe(file)  # reads the header only: a file cut short is reported here, in one sentence
    return file


def _meant(models: Path, model: str | None) -> Path:
    if model is None:
        newest = [run for channel in models.glob("*") for run in _runs(channel).values()]
        if not newest:
            raise UnderstudyError(f"no model under {models} yet; make one with `understudy run`")
        channel = max(newest, key=lambda run: (run / "gguf").stat().st_mtime).parent.name
        return run_folder(models, channel)
    channel, _, run = model.strip("/").partition("/")
    if not run and not _runs(models / channel):
        named = [folder for of in models.glob("*") for name, folder in _runs(of).items() if name == channel]
        if len(named) == 1:
            return named[0]
        if named:
            both = " or ".join(f"{folder.parent.name}/{folder.name}" for folder in named)
            raise UnderstudyError(f"{model!r} is a run of several channels: name {both}")
    return run_folder(models, channel, run or None)


def _of_run(run: Path, force: bool) -> Path:
    reasons = refused(run)
    good = [file for kind, file in files(run).items() if force or kind not in reasons]
    if good:
        return good[0]
    why = "; ".join(f"{kind}: {reasons[kind]}" for kind in files(run))
    raise UnderstudyError(f"every file of {run.parent.name}/{run.name} was refused ({why}); --force takes one anyway")


def _runs(channel: Path) -> dict[str, Path]:
    """Name > folder of every run with an exported file."""
    if channel.name == "bases":
        return {}
    return {run.name: run for run in channel.glob("[!.]*") if not run.is_symlink() and files(run)}
