"""The standard suite on the demo's model: how long it takes, batches against one by one, and the page it ends on.

The split gives a hundred rows to the test split: the suite is complete, and the model worse than the demo's.
"""

import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from benchmarks.figures import Figure
from tests.browser.devtools import NoBrowser, tab
from understudy.engines.mlx import MlxEngine
from understudy.records import Message

ROOT = Path(__file__).resolve().parents[1]
MAIN = [sys.executable, str(ROOT / "flows" / "main.py"), "--preset", "tiny", "--json", "--set", "split.test=0.72"]
SUITE = ("--set", "evaluate.questions=100", "--set", "evaluate.suites=true")
QUESTIONS, NEW_TOKENS, TURNS = 48, 64, 3


def figures() -> Iterator[Figure]:
    """Every figure of the group; takes about five minutes."""
    with tempfile.TemporaryDirectory(prefix="understudy-bench-") as folder:
        os.environ["PREFECT_HOME"] = f"{folder}/prefect"
        home = Path(folder) / "home"
        _run(home, "--only", "dataset")
        model = _run(home, "--only", "model")
        began = time.perf_counter()
        score = _run(home, "--only", "score", *SUITE)
        seconds = time.perf_counter() - began
        card = json.loads((home / "models/sample" / model["run"] / "scorecard.json").read_text(encoding="utf-8"))
        yield Figure("held_out_rows", card["test_pairs"])
        yield Figure("candidates", len(card["candidates"]), ">=", 5)
        yield Figure("suite_seconds", seconds, "<=", 180)
        yield _batches(home)
        yield from _page(Path(score["report"]))


def _run(home: Path, *options: str) -> dict[str, str]:
    process = subprocess.run([*MAIN, "--home", str(home), *options], capture_output=True, text=True, cwd=ROOT)
    if process.returncode:
        raise SystemExit(f"the run failed:\n{process.stderr[-3000:]}")
    return dict(json.loads(process.stdout.splitlines()[-1]))


def _batches(home: Path) -> Figure:
    """Tokens a second of sixteen at a time over those of one at a time, in turns on the demo's base."""
    [base] = [folder for folder in (home / "models/bases").iterdir() if (folder / "config.json").exists()]
    conversations = [[Message(role="user", content=f"What about {n} and the rain?")] for n in range(QUESTIONS)]

    def speed(rows: int) -> float:
        engine = MlxEngine(MlxEngine.Options(batch_rows=rows))
        completions = engine.complete(base, None, conversations, NEW_TOKENS, lambda done, total, note="": None)
        return sum(one.new_tokens for one in completions) / sum(one.seconds for one in completions)

    ratios = [speed(16) / speed(1) for _ in range(TURNS)]
    return Figure("batch_over_one_by_one", statistics.median(ratios), ">=", 2)


def _page(report: Path) -> Iterator[Figure]:
    yield Figure("report_mb", report.stat().st_size / 1e6, "<", 2)
    try:
        with tab(1200) as page:
            page.open(report.resolve().as_uri(), "Run record")
            loaded = "performance.getEntriesByType('navigation')[0].loadEventEnd"
            page.until(f"{loaded} > 0")
            yield Figure("report_opens_seconds", page.value(loaded) / 1000, "<", 1)
    except NoBrowser as reason:
        print(f"suite: the page was not opened: {reason}", file=sys.stderr)
