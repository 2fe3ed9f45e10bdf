"""
Histories of a channel, drawn from a seed: processes that are killed or fail, and a last one that nothing disturbs.

After each process every law is checked on the files. A process is a fork, so that a kill is one; what it leaves behind
is what the next one finds.
"""

import errno
import gc
import json
import os
import shutil
import sys
import tempfile
import traceback
from collections.abc import Callable, Iterator
from contextlib import suppress
from functools import partial
from importlib import import_module
from pathlib import Path
from random import Random
from typing import Any, NamedTuple

from tests.fixtures.teacher_faults import MIXES, Plan
from tests.simulation.laws import check, rows_of
from tests.simulation.life import SHORT, Setup, live
from tests.simulation.talks import talk_text

LEAST_TALKS, MOST_TALKS = 3, 4
UNPAID = {"rate_limited": 0.1, "error_500": 0.05, "error_503": 0.05, "disconnect": 0.08, "hang": 0.05, "stall": 0.03}
_WORLD = Path("/dev/shm") if os.access("/dev/shm", os.W_OK) else Path(tempfile.gettempdir())


class Broken(NamedTuple):
    """A law that does not hold."""

    seed: int
    life: int
    what: str


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
            _in_a_process(partial(check, setup, report["outcome"], wanted))
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
        cache[talks] = rows_of(folder) | {"steps": str(_report(folder)["steps"])}
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
