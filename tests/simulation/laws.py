"""What holds after every process of a history, read from the files that it left."""

import hashlib
import json
import os
import pickle
import sqlite3
import traceback
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NoReturn

from tests.fixtures.teacher_words import answer_for, question_for
from tests.simulation.life import CHANNEL, QUESTIONS, SHORT, Setup
from tests.simulation.talks import talk_text, token_of
from understudy import store
from understudy.records import Manifest, Pair, SplitPlan

PAIRS, SPLITS = f"data/{CHANNEL}/dataset/pairs.parquet", ("train", "valid", "test")
NOTHING_LEFT = "all kept pairs are held out by the earlier split"  # the only talk of train was forgotten


def check(setup: Setup, outcome: str, wanted: dict[str, str] | None) -> NoReturn:
    """Write the laws that do not hold now into laws.json."""
    folder, state = setup.folder, setup.folder / "state.json"
    known = json.loads(state.read_text()) if state.exists() else {"lost": 0, "usd": 0.0, "forgotten": ""}
    known["forgotten"] = setup.forget or known["forgotten"]
    laws: list[str] = []
    try:
        laws = [
            *_process(setup, outcome, known["forgotten"]),
            *_money(setup, outcome, known),
            *_assets(folder / "home"),
        ]
        if outcome == "done" and not setup.forget:
            laws += [*_dataset(folder, known["forgotten"]), *_frozen(folder, known)]
        if wanted and outcome == "done" and rows_of(folder) != wanted:
            laws.append("the rows differ from those of a run that nothing disturbed")
            if setup.traced:
                dataset = folder / "home/data" / CHANNEL / "dataset"
                print(*((dataset / f"{name}.jsonl").read_text() for name in SPLITS), sep="\n--\n", flush=True)
        if known["forgotten"] and (setup.forget or outcome == "done"):
            laws += _forgotten(folder / "home", known["forgotten"])
    except Exception:
        laws.append(f"a law cannot be checked: {traceback.format_exc()}")
    state.write_text(json.dumps(known))
    (folder / "laws.json").write_text(json.dumps(laws))
    os._exit(0)


def _process(setup: Setup, outcome: str, forgotten: str) -> Iterator[str]:
    """A process ends in a way that was planned, and one that nothing disturbs does its work."""
    if outcome.startswith(("stuck", "defect")):
        yield outcome
    elif setup.undisturbed and outcome != "done" and not (forgotten and NOTHING_LEFT in outcome):
        yield f"after the faults had ended the run did not finish: {outcome}"
    elif outcome.startswith("failed: OSError") and not setup.fails_at:
        yield f"an error that no plan made: {outcome}"


def _money(setup: Setup, outcome: str, known: dict[str, Any]) -> Iterator[str]:
    """No reply is paid twice or lost but those on their way at a kill; the budget holds; the sums are right."""
    account = pickle.loads((setup.folder / "provider").read_bytes())["account"]
    file = setup.folder / "home/data" / CHANNEL / "calls.sqlite"
    on_the_way = kept = 0
    if file.exists():
        with sqlite3.connect(file) as db:
            counts = dict(db.execute("SELECT state, count(*) FROM calls GROUP BY state").fetchall())
            on_the_way, kept = counts.get("sent", 0), sum(counts.get(state, 0) for state in ("ok", "cut", "refused"))
            [(spent, reserved)] = db.execute("SELECT spent, reserved FROM budget").fetchall()
            sums = "SELECT coalesce(sum(coalesce(usd, estimate_usd)), 0) FROM calls WHERE state {} 'sent'"
            [(paid,)], [(held,)] = (db.execute(sums.format(sign)).fetchall() for sign in ("<>", "="))
        db.close()
        if not known["forgotten"] and (abs(spent - paid) > 1e-9 or abs(reserved - held) > 1e-9):
            yield f"the budget says {spent} + {reserved}, the calls {paid} + {held}"
        if spent + reserved + 1e-9 < account["usd"] and not known["forgotten"]:
            yield f"the ledger counts {spent + reserved} USD, and {account['usd']} were paid"
    if outcome == "done" and on_the_way and not setup.forget:
        yield f"{on_the_way} calls are on their way after the run has ended"
    if outcome.startswith("killed"):
        known["lost"] += on_the_way
    if account["good_paid_twice"] > known["lost"]:
        yield f"{account['good_paid_twice']} replies were paid twice, {known['lost']} were on their way at a kill"
    silent = sum(account["replies"].get(name, 0) for name in ("abandoned", "hang", "stall"))
    delivered = account["paid_calls"] - silent
    if not known["forgotten"] and delivered > kept + known["lost"]:
        yield f"{delivered} replies were delivered, {kept} are kept, {known['lost']} were on their way at a kill"
    if account["usd"] > max(setup.max_usd, known["usd"]) + 1e-9 and not known["forgotten"]:
        yield f"{account['usd']:.4f} USD were paid, with {known['usd']:.4f} before and a cap of {setup.max_usd:.4f}"
    known["usd"] = account["usd"]


def _assets(home: Path) -> Iterator[str]:
    """What a manifest says is there is there, whole."""
    for manifest in home.rglob(".*" + store.MANIFEST):
        content = manifest.read_bytes()
        try:
            known = Manifest.model_validate_json(content)
        except ValueError:
            yield f"{manifest.relative_to(home)} is torn: {content[:60]!r}"
            continue
        if store.fresh(home, known.asset.path, known.fingerprint) is None:
            continue
        found = hashlib.sha256((home / known.asset.path).read_bytes()).hexdigest()
        if found != known.asset.sha256:
            yield f"{known.asset.path} is not what its manifest says"


def _pairs(folder: Path) -> list[Pair]:
    ref = store.latest(folder / "home", PAIRS)
    assert ref, "a finished run has pairs"
    return list(store.read_rows(folder / "home", ref, Pair))


def _dataset(folder: Path, forgotten: str) -> Iterator[str]:
    """Every answer is that to its question, of its talk, and every talk is there with all that it gave."""
    pairs = _pairs(folder)
    for pair in pairs:
        text = talk_text(pair.document_id)
        asked = {question_for(text, number).partition("\n")[0] for number in range(1, QUESTIONS + 1)}
        if pair.question not in asked:
            yield f"{pair.pair_id} asks what its talk never asked: {pair.question}"
        elif pair.answer != answer_for(text, pair.question, SHORT["words"]):
            yield f"{pair.pair_id} has the answer of another question"
    plan = _plan(folder)
    kept, planned = {pair.pair_id for pair in pairs if pair.kept}, [n for ids in plan.splits.values() for n in ids]
    if sorted(planned) != sorted(kept - {row.pair_id for row in plan.dropped}):
        yield "the split has other rows than the pairs that are kept"


def _plan(folder: Path) -> SplitPlan:
    return SplitPlan.model_validate_json((folder / "home/data" / CHANNEL / "dataset/split.json").read_bytes())


def _frozen(folder: Path, known: dict[str, Any]) -> Iterator[str]:
    """What was held out is held out where it was."""
    plan = _plan(folder)
    now = {name: split for split, names in plan.splits.items() for name in names}
    for name, split in known.get("split", {}).items():
        if split != "train" and now.get(name, split) != split:
            yield f"{name} was in {split} and is in {now[name]} now"
    if plan.honest:
        known["split"] = now


def _forgotten(home: Path, name: str) -> Iterator[str]:
    """No file holds a word of the talk."""
    word = token_of(name).encode()
    for file in home.rglob("*"):
        if file.is_file() and word in file.read_bytes():
            yield f"{file.relative_to(home)} holds a word of the forgotten {name}"


def rows_of(folder: Path) -> dict[str, str]:
    """The digests of the rows, by split."""
    dataset = folder / "home/data" / CHANNEL / "dataset"
    return {name: hashlib.sha256((dataset / f"{name}.jsonl").read_bytes()).hexdigest() for name in SPLITS}
