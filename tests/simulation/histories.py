"""
Histories of a channel, drawn from a seed: processes that are killed or fail, and a last one that nothing disturbs.

After each process every law is checked on the files. A process is a fork, so that a kill is one; what it leaves behind
is what the next one finds.
"""

import errno
import gc
import hashlib
import json
import os
import pickle
import shutil
import sqlite3
import string
import sys
import tempfile
import traceback
from collections.abc import Callable, Iterator
from contextlib import suppress
from functools import partial
from importlib import import_module
from pathlib import Path
from random import Random
from typing import Any, NamedTuple, NoReturn

from tests.fixtures.teacher_faults import MIXES, Plan
from tests.fixtures.teacher_words import answer_for, question_for
from tests.simulation.life import CHANNEL, QUESTIONS, SHORT, Setup, live
from understudy import store
from understudy.records import Manifest, Pair, SplitPlan

LEAST_TALKS, MOST_TALKS = 3, 4
UNPAID = {"rate_limited": 0.1, "error_500": 0.05, "error_503": 0.05, "disconnect": 0.08, "hang": 0.05, "stall": 0.03}
PAIRS, SPLITS = f"data/{CHANNEL}/dataset/pairs.parquet", ("train", "valid", "test")
NOUNS = (
    "kettle anchor basket candle dagger engine feather garden hammer island jacket ladder mirror needle orchard pepper "
    "quarry ribbon saddle timber urchin valley window yellow zipper bottle carpet donkey eagle forest glacier harbour"
).split()
NOTHING_LEFT = "all kept pairs are held out by the earlier split"  # the only talk of train was forgotten
_WORLD = Path("/dev/shm") if os.access("/dev/shm", os.W_OK) else Path(tempfile.gettempdir())


class Broken(NamedTuple):
    """A law that does not hold."""

    seed: int
    life: int
    what: str


def talk_text(name: str) -> str:
    """A talk of about 200 words that holds a word of its own, told by its name."""
    random = Random(name)
    own = random.sample(NOUNS, 12)
    sentences = []
    for at in range(24):
        words = [random.choice(own) for _ in range(7)]
        sentences.append(f"The {' '.join(words)} {token_of(name) if at % 8 == 0 else 'there'}.")
    return "\n\n".join(" ".join(sentences[at : at + 8]) for at in range(0, 24, 8)) + "\n"


def token_of(name: str) -> str:
    """A word that stands in this talk alone."""
    digest = hashlib.sha256(name.encode()).digest()
    return "xo" + "".join(string.ascii_lowercase[byte % 26] for byte in digest[:8])


def lives(seed: int, folder: Path, steps: int, traced: bool) -> Iterator[tuple[Setup, list[str]]]:
    """The processes of a history and the talks that are there by then; `steps` is how many an undisturbed one takes."""
    random = Random(seed)
    talks = [f"talk-{number}.txt" for number in range(random.randint(LEAST_TALKS, MOST_TALKS))]
    mixes: list[dict[str, Any]] = [{}, UNPAID, UNPAID, MIXES["nasty"], MIXES["slips"]]
    mix = random.choice(mixes)
    now, number, forgotten = 0.0, 0, ""
    for number in range(random.randint(1, 3)):
        plan = Plan(**SHORT, **mix, seed=seed, latency=random.choice([0.0, 2.0]), sigma=0.5)
        setup = Setup(seed, number, folder, now, plan, traced=traced)
        what = random.choice(["kill", "kill", "power", "power", "disk", "network", "budget", "clock", "nothing"])
        if what in ("kill", "power"):
            setup = setup._replace(crash_at=random.randint(1, steps), power_cut=what == "power")
        elif what == "disk":
            setup = setup._replace(
                fails_at=random.randint(1, 90), fails_with=random.choice([errno.ENOSPC, errno.EIO, errno.EROFS])
            )
        elif what == "network":
            begin = random.uniform(0, 30)
            setup = setup._replace(outages=((begin, begin + random.choice([5.0, 120.0, 7200.0])),))
        elif what == "budget":
            setup = setup._replace(max_usd=random.uniform(0.0, 0.02))
        elif what == "clock":
            setup = setup._replace(jump=(random.uniform(0, 20), random.choice([-86400.0, 86400.0, 3600.0])))
        yield setup, talks
        now += 3600.0
        if random.random() < 0.2:
            talks = [*talks, f"talk-{len(talks)}.txt"]
        if random.random() < 0.12 and not forgotten:
            forgotten = random.choice(talks)
            yield Setup(seed, number + 100, folder, now, Plan(), forget=forgotten, traced=traced), talks
            now += 60.0
    for again in range(1 + (random.random() < 0.2)):
        at = now + 3600.0 * again
        yield (
            Setup(seed, number + 1 + again, folder, at, Plan(**SHORT, seed=seed), undisturbed=True, traced=traced),
            talks,
        )


def play(seed: int, reference: Callable[[int], dict[str, str]], steps: int, traced: bool = False) -> list[Broken]:
    """The laws that a history breaks; none, as a rule."""
    folder = Path(tempfile.mkdtemp(prefix="understudy-history-", dir=_WORLD))
    broken: list[Broken] = []
    try:
        (folder / "talks").mkdir()
        history = list(lives(seed, folder, steps, traced))
        disturbed = any(setup.plan.missing or setup.plan.renumbered for setup, _ in history)
        same_talks = len({len(talks) for _, talks in history}) == 1 and not any(setup.forget for setup, _ in history)
        for setup, talks in history:
            for name in talks:
                if not (file := folder / "talks" / name).exists():
                    file.write_text(talk_text(name))
            (folder / "report.json").unlink(missing_ok=True)
            _in_a_process(partial(live, setup))
            report = _report(folder)
            if traced:
                print(f"-- process {setup.number}: {_told(setup)}", *report["lines"], report["outcome"], sep="\n")
            wanted = reference(len(talks)) if setup.undisturbed and not disturbed and same_talks else None
            _in_a_process(partial(_check, setup, report["outcome"], wanted))
            broken += [Broken(seed, setup.number, what) for what in json.loads((folder / "laws.json").read_text())]
            if broken:
                break
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    return broken


def reference_of(cache: dict[int, dict[str, str]], talks: int) -> dict[str, str]:
    """The digests of the rows that a run leaves which nothing disturbs, by split."""
    if talks not in cache:
        folder = Path(tempfile.mkdtemp(prefix="understudy-history-", dir=_WORLD))
        (folder / "talks").mkdir()
        for number in range(talks):
            (folder / "talks" / f"talk-{number}.txt").write_text(talk_text(f"talk-{number}.txt"))
        _in_a_process(partial(live, Setup(0, 0, folder, 0.0, Plan(**SHORT, seed=0))))
        assert _report(folder)["outcome"] == "done", _report(folder)["outcome"]
        cache[talks] = _rows(folder) | {"steps": str(_report(folder)["steps"])}
        _load(_report(folder)["modules"])
        shutil.rmtree(folder)
    return {name: digest for name, digest in cache[talks].items() if name != "steps"}


def _load(modules: list[str]) -> None:
    """Import here what the processes would import, each for itself: that takes ten times as long as their work."""
    for name in modules:
        with suppress(Exception):
            import_module(name)
    gc.collect()
    gc.freeze()


def _told(setup: Setup) -> str:
    fields = {name: value for name, value in setup._asdict().items() if value not in (None, "", (), False)}
    fields |= {"plan": {k: v for k, v in vars(setup.plan).items() if v != getattr(Plan(), k) and k != "clock"}}
    return ", ".join(f"{name} {value}" for name, value in fields.items() if name not in ("folder", "traced"))


def _in_a_process(work: Callable[[], object]) -> None:
    """Do `work` in a fork, which may end as it likes."""
    pid = os.fork()
    if pid == 0:
        try:
            work()
        except BaseException:
            traceback.print_exc()
            os._exit(1)
        os._exit(0)
    os.waitpid(pid, 0)


def _report(folder: Path) -> dict[str, Any]:
    file = folder / "report.json"
    if not file.exists():
        return {"outcome": "defect: the process ended without a word", "now": 0.0, "steps": 0, "lines": []}
    return dict(json.loads(file.read_text()))


def _rows(folder: Path) -> dict[str, str]:
    dataset = folder / "home/data" / CHANNEL / "dataset"
    return {name: hashlib.sha256((dataset / f"{name}.jsonl").read_bytes()).hexdigest() for name in SPLITS}


def _check(setup: Setup, outcome: str, wanted: dict[str, str] | None) -> NoReturn:
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
        if wanted and outcome == "done" and _rows(folder) != wanted:
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


def main(arguments: list[str]) -> int:
    """Play the histories of a range of seeds, with --first until one breaks a law; or tell one."""
    cache: dict[int, dict[str, str]] = {}
    reference = partial(reference_of, cache)
    for talks in range(LEAST_TALKS, MOST_TALKS + 1):
        reference(talks)
    steps = int(cache[MOST_TALKS]["steps"])
    if arguments[0] == "-v":
        broken = play(int(arguments[1]), reference, steps, traced=True)
        print(*(one.what for one in broken), sep="\n")
        return bool(broken)
    first, end = int(arguments[0]), int(arguments[1])
    found, until = 0, 1 if arguments[2:] == ["--first"] else end
    for seed in range(first, end):
        if found >= until:
            return 1
        for one in play(seed, reference, steps):
            found += 1
            print(f"seed {one.seed}, process {one.life}: {one.what}", flush=True)
    print(f"{end - first} histories, {found} broken laws")
    return bool(found)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
