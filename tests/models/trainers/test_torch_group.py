"""Laws of one training with torch on several processes, real ones on this machine's loopback."""

import json
from pathlib import Path
from typing import Any

import psutil
import pytest

pytest.importorskip("torch", reason="the extra torch is not installed: make torch")
pytest.importorskip("peft", reason="the extra torch is not installed: make torch")
pytest.importorskip("accelerate", reason="the extra torch is not installed: make torch")

from understudy import worker
from understudy.errors import WorkerFailed
from understudy.records import AdapterCard
from understudy.trainers.peft_lora import PeftLoraTrainer
from understudy.trainers.torch_job import TorchOptions

TWO = ["127.0.0.1", "127.0.0.1"]
OPTIONS: dict[str, Any] = {
    "rank": 4, "alpha": 12, "learning_rate": 3e-3, "epochs": 2, "batch_size": 3, "gradient_accumulation_steps": 2,
    "max_seq_length": 128, "sample_tokens": 4, "dtype": "float32", "device": "cpu",
}  # fmt: skip


def silent(done: int, total: int, note: str = "") -> None:
    """Progress that is not shown."""


def tune(base: Path, data: Path, out: Path, progress: Any = silent, **options: Any) -> AdapterCard:
    trainer = PeftLoraTrainer(TorchOptions.model_validate(OPTIONS | options))
    assert trainer.problems() == []
    return trainer.train(base, data / "train.jsonl", data / "valid.jsonl", out, 5, progress)


def both() -> list[psutil.Process]:
    """The two processes of the running training, the first one first; workers of other tests may wait beside them."""
    running = [psutil.Process(process.pid) for process in worker.running]
    [first] = [process for process in running if "torch_lora_worker" in " ".join(process.cmdline())]
    return [first, *first.children()]


def losses(out: Path) -> list[tuple[int, float | None, float | None, float | None]]:
    rows = [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]
    return [(row["iteration"], row["tokens"], row["train_loss"], row["valid_loss"]) for row in rows]


def assert_alike(one: Path, other: Path) -> None:
    """The same moments, the same tokens, and losses that differ by the order of a sum at most."""
    for a, b in zip(losses(one), losses(other), strict=True):
        assert a[:2] == b[:2]
        assert (a[2] or a[3]) == pytest.approx(b[2] or b[3], abs=1e-4)


@pytest.fixture(scope="module")
def alone(tiny_base: Path, dataset: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("alone")
    assert tune(tiny_base, dataset, out).world_size == 1
    return out


def test_two_processes_train_as_one_does(alone: Path, tiny_base: Path, dataset: Path, tmp_path: Path) -> None:
    listening = set[str]()

    def look(done: int, total: int, note: str = "") -> None:
        if done == 2:
            for process in both():
                sockets = process.net_connections("inet")
                listening.update(socket.laddr.ip for socket in sockets if socket.status == "LISTEN")

    card = tune(tiny_base, dataset, tmp_path, look, hosts=TWO)
    assert card.world_size == 2
    assert listening == {"127.0.0.1"}
    assert_alike(alone, tmp_path)
    assert not (tmp_path / ".processes").exists()


def test_a_process_that_is_killed_ends_the_training_and_it_resumes(
    alone: Path, tiny_base: Path, dataset: Path, tmp_path: Path
) -> None:
    def kill(done: int, total: int, note: str = "") -> None:
        if done == 4:
            both()[1].kill()

    with pytest.raises(WorkerFailed, match="process 2 of 2 was killed, most likely out of memory; run again"):
        tune(tiny_base, dataset, tmp_path, kill, hosts=TWO)
    assert (tmp_path / "last" / "resume.safetensors").exists()
    tune(tiny_base, dataset, tmp_path, hosts=TWO)
    assert_alike(alone, tmp_path)


def test_another_machine_is_refused_with_what_to_do_instead() -> None:
    [problem] = PeftLoraTrainer(TorchOptions(hosts=["127.0.0.1", "10.0.0.7"])).problems()
    assert "among the cards of this machine" in problem and "docs/rented.md" in problem
