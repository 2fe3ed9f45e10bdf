"""Laws of a run that was killed: it resumes as if nothing had happened, or says why it cannot."""

import json
import os
import shutil
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from understudy import worker
from understudy.errors import AssetError, ConfigError, WorkerFailed
from understudy.trainers.mlx_lora import MlxLoraTrainer

Progress = Callable[..., None]
OPTIONS: dict[str, Any] = {
    "rank": 4,
    "learning_rate": 3e-3,
    "epochs": 12,
    "max_seq_length": 128,
    "batch_size": 2,
    "gradient_accumulation_steps": 2,
    "dropout": 0.1,
    "num_layers": 1,
    "patience": 50,
    "evaluations_per_epoch": 1,
    "sample_tokens": 4,
    "save_every": 5,
}


def silent(done: int, total: int, note: str = "") -> None:
    """Progress that is not shown."""


def tune(tuned: Any, out: Path, progress: Progress = silent, seed: int = 5, **options: Any) -> Any:
    """Train with dropout and accumulation: both have a state that a checkpoint must bring back."""
    trainer = MlxLoraTrainer(MlxLoraTrainer.Options.model_validate(OPTIONS | options))
    return trainer.train(tuned.base, tuned.data / "train.jsonl", tuned.data / "valid.jsonl", out, seed, progress)


def killer(at: int) -> Progress:
    """A report that ends the worker, as the system does when memory runs out, once it has done `at` iterations."""

    def progress(done: int, total: int, note: str = "") -> None:
        if done >= at:
            for process in list(worker.running):
                os.kill(process.pid, signal.SIGKILL)

    return progress


def losses(out: Path) -> list[tuple[int, float | None, float | None]]:
    rows = [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]
    return [(row["iteration"], row["train_loss"], row["valid_loss"]) for row in rows]


def answers(out: Path) -> dict[int, list[str]]:
    """By iteration, the lines of samples.jsonl."""
    lines: dict[int, list[str]] = {}
    for line in (out / "samples.jsonl").read_text(encoding="utf-8").splitlines():
        lines.setdefault(json.loads(line)["iteration"], []).append(line)
    return lines


def largest_difference(one: Path, other: Path) -> float:
    """Between the losses of two runs, which must have been taken at the same moments."""
    pairs = list(zip(losses(one), losses(other), strict=True))
    assert all((a[0], a[1] is None) == (b[0], b[1] is None) for a, b in pairs)
    return max(abs((a[1] or a[2] or 0) - (b[1] or b[2] or 0)) for a, b in pairs)


@pytest.fixture(scope="module")
def undisturbed(tuned: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("undisturbed")
    tune(tuned, out)
    return out


def test_a_run_killed_at_any_moment_goes_through_the_same_losses(tuned: Any, undisturbed: Path, tmp_path: Path) -> None:
    for at in (2, 10, 18, 26):
        with pytest.raises(WorkerFailed, match="killed"):
            tune(tuned, tmp_path, killer(at))
    first: list[int] = []
    card = tune(
        tuned, tmp_path, lambda done, total, note="": first.append(done) if "resumes from checkpoint" in note else None
    )
    assert len(first) == 1 and first[0] > 0
    assert largest_difference(tmp_path, undisturbed) < 1e-4
    assert card.steps == card.settings["planned_steps"] == 18
    for name in ("adapters", "last/adapters", "last/resume"):
        assert (tmp_path / f"{name}.safetensors").read_bytes() == (undisturbed / f"{name}.safetensors").read_bytes()
    numbered = [f"{step:07d}_adapters.safetensors" for step in (5, 10, 15)]
    assert sorted(file.name for file in (tmp_path / "checkpoints").glob("*.safetensors")) == numbered
    for name in (*numbered, "adapter_config.json"):
        one, other = (out / "checkpoints" / name for out in (tmp_path, undisturbed))
        assert one.read_bytes() == other.read_bytes(), name
    ours, theirs = (answers(out) for out in (tmp_path, undisturbed))
    assert ours == theirs and set(ours) == {36}


def test_a_finished_run_is_not_trained_again(tuned: Any, undisturbed: Path, tmp_path: Path) -> None:
    shutil.copytree(undisturbed, tmp_path / "out")
    card = tune(tuned, tmp_path / "out")
    assert losses(tmp_path / "out") == losses(undisturbed)
    assert card.iterations == 36


def test_a_run_stopped_early_does_not_resume(tuned: Any, tmp_path: Path) -> None:
    settings = {"learning_rate": 1e-9, "patience": 2}
    card = tune(tuned, tmp_path, **settings)
    before = losses(tmp_path)
    assert card.stopped_early and card.best_iteration == 0 and len([row for row in before if row[2] is not None]) == 3
    assert tune(tuned, tmp_path, **settings).iterations == card.iterations and losses(tmp_path) == before


def test_a_run_with_changed_settings_says_which(tuned: Any, undisturbed: Path, tmp_path: Path) -> None:
    shutil.copytree(undisturbed, tmp_path / "out")
    with pytest.raises(ConfigError, match=r"learning_rate 0\.003, now 0\.001; seed 5, now 6: put that back"):
        tune(tuned, tmp_path / "out", seed=6, learning_rate=1e-3)
    assert losses(tmp_path / "out") == losses(undisturbed)


def test_what_another_base_left_is_not_resumed(tuned: Any, undisturbed: Path, tmp_path: Path) -> None:
    shutil.copytree(undisturbed, tmp_path / "out")
    identity = tmp_path / "out" / "identity.json"
    identity.write_text(json.dumps(json.loads(identity.read_text()) | {"base": "0" * 64}))
    with pytest.raises(ConfigError, match="base 00000000…, now"):
        tune(tuned, tmp_path / "out")


def test_a_checkpoint_of_another_shape_or_cut_short_is_named(tuned: Any, undisturbed: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    shutil.copytree(undisturbed, out)
    identity = out / "identity.json"
    identity.write_text(json.dumps(json.loads(identity.read_text()) | {"rank": 2}))
    with pytest.raises(AssetError, match="another base or another rank: .*lora_a is 64x4 there, 64x2 here"):
        tune(tuned, out, rank=2)
    identity.write_text((undisturbed / "identity.json").read_text())
    checkpoint = out / "last" / "resume.safetensors"
    checkpoint.write_bytes(checkpoint.read_bytes()[:200])
    with pytest.raises(AssetError, match=r"resume\.safetensors cannot be read"):
        tune(tuned, out)


def test_a_full_disk_at_a_checkpoint_is_said_and_cured_by_running_again(
    tuned: Any, undisturbed: Path, tmp_path: Path
) -> None:
    def full(done: int, total: int, note: str = "") -> None:
        temporary = tmp_path / "last" / ".resume.safetensors.tmp"
        if done >= 8 and not temporary.is_symlink():
            temporary.symlink_to("/dev/full")

    if not Path("/dev/full").exists():
        pytest.skip("no device that is always full here")
    with pytest.raises(AssetError, match="no space left .* run again"):
        tune(tuned, tmp_path, full)
    assert (tmp_path / "best" / "adapters.safetensors").exists()
    tune(tuned, tmp_path)
    assert largest_difference(tmp_path, undisturbed) < 1e-4
