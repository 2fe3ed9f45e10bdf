"""Choose between base and tuned model, blind, in a browser: a question, two answers in random order, no names.

Answers of a scored run are read from its samples, and no model is loaded. Others are generated first: by base and
adapter of a run, or by two GGUF files. Choices are stored in the run's comparison.jsonl and shown in its report.
"""

import sys
from argparse import ArgumentParser, Namespace
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from pydantic import ValidationError

from understudy import registry, store
from understudy.catalog import CATALOG
from understudy.errors import AssetError, UnderstudyError
from understudy.interfaces import Candidate, Engine
from understudy.records import Judgement, Manifest, Message, Pair, RunRecord, Sample, Scorecard, SplitPlan
from understudy.report import evidence, page
from understudy.runs import find
from understudy.text import words
from understudy.web.compare import PAIRS, Duel, Sitting, draw
from understudy.web.loopback import PageServer

EXAMPLE = "understudy compare my-channel --pairs 20"
JSON = False
MAX_TOKENS = 400


class Contest(NamedTuple):
    """Two candidates, their answers, and where choices between them are stored."""

    folder: Path
    duels: list[Duel]
    tuned: str
    base: str
    run: tuple[str, str] | None
    """Channel and run whose page shows the result; None for two files."""
    judged: Sequence[Judgement] = ()
    """A judge's verdicts on the same answers."""


def options(p: ArgumentParser) -> None:
    p.add_argument("model", nargs="+", metavar="MODEL", help="NAME of a channel or NAME/RUN; or two GGUF files")
    p.add_argument("--pairs", type=int, default=PAIRS, metavar="N", help=f"to decide (default: {PAIRS})")
    p.add_argument("--port", type=int, default=0, help="on 127.0.0.1 (default: any free one)")
    p.add_argument(
        "--channel", metavar="NAME", help="whose held-out questions are used for files that belong to no run"
    )


def main(args: Namespace) -> int:
    """Serve the comparison until Ctrl-C."""
    if len(args.model) > 2:
        raise UnderstudyError(f"{len(args.model)} models are given; name one run, or two GGUF files")
    server = serve(args.home, args.model, args.pairs, args.port, args.channel)
    print(f"Compare at {server.url}", flush=True)
    print("Keys: 1, 2, 0 or t for no difference, Backspace to go back. Every choice is saved immediately.", flush=True)
    server.until_interrupted()
    return 0


def serve(
    home: Path, models: Sequence[str], pairs: int = PAIRS, port: int = 0, channel: str | None = None
) -> PageServer:
    """The page that compares `models`. Raises UnderstudyError."""
    if pairs < 1:
        raise UnderstudyError(f"--pairs is {pairs}; at least 1 pair is needed")
    contest = _files(home, models, pairs, channel) if len(models) == 2 else _run(home, models[0], pairs)

    def ended() -> None:
        if contest.run:
            refresh(home, *contest.run)

    sitting = Sitting(contest.folder, contest.duels, contest.tuned, contest.base, contest.judged, ended)
    return PageServer(sitting.page(), port)


def refresh(home: Path, channel: str, run: str) -> None:
    """Write the run's report again, with people's choices in it; a run without a report gets none."""
    path = CATALOG["report"].path.format(channel=channel, run=run)
    manifest = (home / path).with_name(f".{Path(path).name}{store.MANIFEST}")
    if not manifest.is_file():
        return
    known = Manifest.model_validate_json(manifest.read_bytes())
    whole = page.html(evidence.gather(home, channel, run))
    store.write_file(home, "report", path, whole.encode(), 1, known.fingerprint)


def scorecard(models: Path, name: str) -> Scorecard:
    """The scorecard that `name` refers to: a file, a run's folder, 'channel/run', 'channel', or a run's own name."""
    path = Path(name)
    if path.is_file():
        return evidence.read_scorecard(path)
    if (path / "scorecard.json").is_file():
        return evidence.read_scorecard(path / "scorecard.json")
    return evidence.read_scorecard(_folder(models, name) / "scorecard.json")


def _folder(models: Path, name: str) -> Path:
    """The folder of a trained run; its exported files may be missing."""
    channel, _, run = name.strip("/").partition("/")
    if run and words.slug(channel) == channel and (models / channel / run).is_dir():
        return (models / channel / run).resolve()
    alone = [folder for folder in models.glob(f"*/{channel}") if (folder / "adapter").is_dir()] if not run else []
    if len(alone) == 1 and not alone[0].is_symlink() and words.slug(channel) == channel:
        return alone[0]
    return find.run_folder(models, channel, run or None)


def _run(home: Path, name: str, count: int) -> Contest:
    """Base and adapter of a run."""
    if name.endswith(".gguf"):
        raise UnderstudyError(f"{name} is one file; name two GGUF files, or CHANNEL or CHANNEL/RUN for base and tuned")
    folder = _folder(home / "models", name)
    channel, run = folder.parent.name, folder.name
    samples: Mapping[str, Sequence[Sample]] = {}
    if not (folder / "scorecard.json").is_file():
        pairs = _held_out(home, channel)
    else:
        known = evidence.gather(home, channel, run)
        pairs, samples = list(known.pairs), known.samples
        if not pairs:
            raise UnderstudyError(
                f"the dataset of {channel!r} is not the one {run} was scored on; score it again with "
                "`understudy run --only score`"
            )
    texts = [{s.pair_id: s.text for s in samples.get(side, ()) if s.text is not None} for side in ("adapter", "base")]
    tuned, base = texts
    duels = [_duel(p, tuned[p.pair_id], base[p.pair_id]) for p in pairs if p.pair_id in tuned and p.pair_id in base]
    if not duels:
        duels = _answered(_drawn(pairs, count, run), _candidates(home, folder))
    ref = store.latest(home, CATALOG["judgements"].path.format(channel=channel, run=run))
    judged = list(store.read_rows(home, ref, Judgement)) if ref else []
    return Contest(folder, draw(duels, count, run), "adapter", "base", (channel, run), judged)


def _files(home: Path, models: Sequence[str], count: int, channel: str | None) -> Contest:
    """Two GGUF files; the questions are those of the run one of them belongs to, or of `channel`."""
    files = [find.gguf(home / "models", name) for name in models]
    if files[0] == files[1]:
        raise UnderstudyError(f"{files[0].name} is named twice; name two different files")
    of_run = next((f.parents[1] for f in files if f.parent.name == "gguf" and f.parents[3] == home / "models"), None)
    if channel is None and of_run is None:
        raise UnderstudyError(
            "neither file is in models/NAME/RUN/gguf, so there are no questions for them; name a dataset with --channel"
        )
    folder = of_run or home / "models" / str(channel)
    folder.mkdir(parents=True, exist_ok=True)
    names = [file.stem if files[0].stem != files[1].stem else f"{file.parents[1].name}/{file.stem}" for file in files]
    pairs = _drawn(_held_out(home, channel or folder.parent.name), count, names[0])
    duels = _answered(pairs, [Candidate(n, "llama_cpp", f) for n, f in zip(names, files, strict=True)])
    return Contest(folder, draw(duels, count, names[0]), names[0], names[1], None)


def _held_out(home: Path, channel: str) -> list[Pair]:
    """The held-out pairs of the current dataset."""
    refs = {
        name: store.latest(home, CATALOG[name].path.format(channel=channel)) if words.slug(channel) == channel else None
        for name in ("pairs", "split")
    }
    if refs["pairs"] is None or refs["split"] is None:
        raise UnderstudyError(
            f"there is no dataset of {channel!r} under {home / 'data'}, so there are no questions to compare on"
        )
    plan: SplitPlan = store.read_record(home, refs["split"], SplitPlan)
    names = plan.splits["test"] or plan.splits["valid"]
    known = {pair.pair_id: pair for pair in store.read_rows(home, refs["pairs"], Pair)}
    return [known[name] for name in names if name in known]


def _drawn(pairs: Sequence[Pair], count: int, seed: str) -> list[Pair]:
    """Twice as many as requested, spread over the talks: some answers may turn out equal."""
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


def _answered(pairs: Sequence[Pair], candidates: Sequence[Candidate]) -> list[Duel]:
    """Generate the answers of both candidates to the questions."""
    texts = []
    for candidate in candidates:
        print(f"{candidate.name} answers {len(pairs)} questions", file=sys.stderr, flush=True)
        engine: Engine = registry.build("engine", candidate.engine, {})
        conversations = [[Message(role="user", content=pair.question)] for pair in pairs]
        completions = engine.complete(candidate.model, candidate.adapter, conversations, MAX_TOKENS, _quiet)
        texts.append([completion.text for completion in completions])
    return [_duel(*row) for row in zip(pairs, *texts, strict=True)]


def _duel(pair: Pair, tuned: str, base: str) -> Duel:
    return Duel(pair.pair_id, pair.document_id, pair.question, pair.answer, tuned, base)


def _quiet(done: int, total: int, note: str = "") -> None:
    """No progress: a line per candidate was printed."""
