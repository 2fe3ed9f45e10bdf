"""
The commands `compare` and `compare-runs`: which answers or scorecards are meant, and where the result goes.

Answers of a run that was scored are read from its samples, and no model is loaded. What has none is asked now:
base and adapter of a run, or two GGUF files.
"""

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from pydantic import ValidationError

from understudy import registry, store
from understudy.catalog import CATALOG
from understudy.errors import AssetError, UnderstudyError
from understudy.interfaces import Candidate, Engine
from understudy.records import Judgement, Manifest, Message, Pair, RunRecord, Scorecard, SplitPlan
from understudy.report import compare_runs as runs
from understudy.report import evidence, page
from understudy.runs import find
from understudy.text import words
from understudy.web.compare import PAIRS, Duel, Sitting, draw
from understudy.web.loopback import PageServer

MAX_TOKENS = 400


class Meant(NamedTuple):
    """Two candidates, their answers, and where choices between them are kept."""

    folder: Path
    duels: list[Duel]
    tuned: str
    base: str
    run: tuple[str, str] | None
    """Channel and run whose page shows the result; None for two files."""
    judged: Sequence[Judgement] = ()
    """What a judge said of the same answers."""


def compare(home: Path, models: Sequence[str], pairs: int = PAIRS, port: int = 0, channel: str | None = None) -> int:
    """Serve the blind comparison until Ctrl-C; returns the exit status. Raises UnderstudyError."""
    server = serve(home, models, pairs, port, channel)
    print(f"Compare at {server.url}", flush=True)
    print("Keys: 1, 2, 0 or t for no difference, Backspace to go back. Every choice is kept at once.", flush=True)
    server.until_interrupted()
    return 0


def serve(
    home: Path, models: Sequence[str], pairs: int = PAIRS, port: int = 0, channel: str | None = None
) -> PageServer:
    """The page of the comparison that `models` means. Raises UnderstudyError."""
    if pairs < 1:
        raise UnderstudyError(f"--pairs is {pairs}; at least 1 pair must be asked")
    meant = _files(home, models, pairs, channel) if len(models) == 2 else _run(home, models[0], pairs)
    ended = (lambda: refresh(home, *meant.run)) if meant.run else (lambda: None)
    sitting = Sitting(meant.folder, meant.duels, meant.tuned, meant.base, meant.judged, ended)
    return PageServer(sitting.page(), port)


def refresh(home: Path, channel: str, run: str) -> None:
    """Write the run's report again, with what people chose on it; a run without one gets none."""
    path = CATALOG["report"].path.format(channel=channel, run=run)
    manifest = (home / path).with_name(f".{Path(path).name}{store.MANIFEST}")
    if not manifest.is_file():
        return
    known = Manifest.model_validate_json(manifest.read_bytes())
    whole = page.html(evidence.gather(home, channel, run))
    store.write_file(home, "report", path, whole.encode(), 1, known.fingerprint)


def compare_runs(models: Path, first: str, second: str, as_json: bool, html: Path | None) -> int:
    """Print two scorecards side by side; returns the exit status. Raises UnderstudyError when they do not compare."""
    found = runs.compare_runs(scorecard(models, first), scorecard(models, second))
    if html:
        html.write_text(runs.html(found), encoding="utf-8")
        print(html)
    elif as_json:
        print(found.model_dump_json(indent=1))
    elif sys.stdout.isatty():
        from rich.console import Console
        from rich.markdown import Markdown

        Console().print(Markdown(runs.markdown(found)))
    else:
        print(runs.markdown(found), end="")
    return 0


def scorecard(models: Path, named: str) -> Scorecard:
    """The scorecard that `named` means: a file, a run's folder, 'channel/run', 'channel', or a run's own name."""
    given = Path(named)
    if given.is_file():
        return runs.read_scorecard(given)
    if (given / "scorecard.json").is_file():
        return runs.read_scorecard(given / "scorecard.json")
    return runs.read_scorecard(_folder(models, named) / "scorecard.json")


def _folder(models: Path, named: str) -> Path:
    """The folder of a run that was trained; its files need not be there."""
    channel, _, run = named.strip("/").partition("/")
    if run and words.slug(channel) == channel and (models / channel / run).is_dir():
        return (models / channel / run).resolve()
    alone = [folder for folder in models.glob(f"*/{channel}") if (folder / "adapter").is_dir()] if not run else []
    if len(alone) == 1 and not alone[0].is_symlink() and words.slug(channel) == channel:
        return alone[0]
    return find.run_folder(models, channel, run or None)


def _run(home: Path, named: str, count: int) -> Meant:
    """Base and adapter of a run."""
    if named.endswith(".gguf"):
        raise UnderstudyError(f"{named} is one file; name two GGUF files, or CHANNEL or CHANNEL/RUN for base and tuned")
    folder = _folder(home / "models", named)
    channel, run = folder.parent.name, folder.name
    if not (folder / "scorecard.json").is_file():
        told, samples = _held_out(home, channel), {}
    else:
        known = evidence.gather(home, channel, run)
        told, samples = list(known.pairs), known.samples
        if not told:
            raise UnderstudyError(
                f"the dataset of {channel!r} is not the one {run} was scored on; score it again with "
                "`python flows/main.py --only score`"
            )
    said = [{s.pair_id: s.text for s in samples.get(name, ()) if s.text is not None} for name in ("adapter", "base")]
    both = [_duel(p, said[0][p.pair_id], said[1][p.pair_id]) for p in told if all(p.pair_id in one for one in said)]
    if not both:
        both = _asked(_drawn(told, count, run), _candidates(home, folder))
    ref = store.current(home, CATALOG["judgements"].path.format(channel=channel, run=run))
    judged = list(store.read_rows(home, ref, Judgement)) if ref else []
    return Meant(folder, draw(both, count, run), "adapter", "base", (channel, run), judged)


def _files(home: Path, models: Sequence[str], count: int, channel: str | None) -> Meant:
    """Two GGUF files; the questions are those of the run one of them belongs to, or of `channel`."""
    found = [find.gguf(home / "models", name) for name in models]
    if found[0] == found[1]:
        raise UnderstudyError(f"{found[0].name} is named twice; name two different files")
    of_run = next((f.parents[1] for f in found if f.parent.name == "gguf" and f.parents[3] == home / "models"), None)
    if channel is None and of_run is None:
        raise UnderstudyError(
            "neither file is in models/CHANNEL/RUN/gguf, so it is not known what to ask; name a dataset with --channel"
        )
    folder = of_run or home / "models" / str(channel)
    folder.mkdir(parents=True, exist_ok=True)
    names = [file.stem if found[0].stem != found[1].stem else f"{file.parents[1].name}/{file.stem}" for file in found]
    asked = _drawn(_held_out(home, channel or folder.parent.name), count, names[0])
    duels = _asked(asked, [Candidate(n, "llama_cpp", f) for n, f in zip(names, found, strict=True)])
    return Meant(folder, draw(duels, count, names[0]), names[0], names[1], None)


def _held_out(home: Path, channel: str) -> list[Pair]:
    """The held-out pairs of the dataset that is there now."""
    refs = {
        name: store.current(home, CATALOG[name].path.format(channel=channel))
        if words.slug(channel) == channel
        else None
        for name in ("pairs", "split")
    }
    if refs["pairs"] is None or refs["split"] is None:
        raise UnderstudyError(f"there is no dataset of {channel!r} under {home / 'data'}; nothing can be asked")
    plan: SplitPlan = store.read_record(home, refs["split"], SplitPlan)
    names = plan.sides["test"] or plan.sides["valid"]
    known = {pair.pair_id: pair for pair in store.read_rows(home, refs["pairs"], Pair)}
    return [known[name] for name in names if name in known]


def _drawn(pairs: Sequence[Pair], count: int, seed: str) -> list[Pair]:
    """Twice as many as are wanted, spread over the talks: some answers may turn out equal."""
    known = {pair.pair_id: pair for pair in pairs}
    return [known[duel.pair_id] for duel in draw([_duel(p, "1", "2") for p in pairs], 2 * count, seed)]


def _candidates(home: Path, folder: Path) -> list[Candidate]:
    """Adapter and base of a run, from its record."""
    try:
        record = RunRecord.model_validate_json((folder / "run.json").read_bytes())
    except (OSError, ValidationError) as error:
        why = getattr(error, "strerror", None) or "of another version"
        raise AssetError(f"{folder / 'run.json'} cannot be read ({why}); score the run, then compare") from None
    base = home / record.base.path
    return [Candidate("adapter", "mlx", base, folder / "adapter"), Candidate("base", "mlx", base)]


def _asked(pairs: Sequence[Pair], candidates: Sequence[Candidate]) -> list[Duel]:
    """What both candidates say to the questions, asked now."""
    said = []
    for candidate in candidates:
        print(f"asking {candidate.name} {len(pairs)} questions", file=sys.stderr, flush=True)
        engine: Engine = registry.build("engine", candidate.engine, {})
        conversations = [[Message(role="user", content=pair.question)] for pair in pairs]
        told = engine.complete(candidate.model, candidate.adapter, conversations, MAX_TOKENS, _quiet)
        said.append([one.text for one in told])
    return [_duel(*row) for row in zip(pairs, *said, strict=True)]


def _duel(pair: Pair, tuned: str, base: str) -> Duel:
    return Duel(pair.pair_id, pair.document_id, pair.question, pair.answer, tuned, base)


def _quiet(done: int, total: int, note: str = "") -> None:
    """No progress: a line per candidate was printed."""
