"""Laws of one training on several processes, real ones on this machine's loopback."""

import json
import os
import select
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from understudy import worker
from understudy.errors import ConfigError, WorkerFailed
from understudy.records import AdapterCard
from understudy.trainers.mlx_lora import MlxLoraTrainer

Train = Callable[..., AdapterCard]
TWO = ["127.0.0.1", "127.0.0.1"]
OPTIONS: dict[str, Any] = {
    "rank": 4,
    "alpha": 12,
    "learning_rate": 3e-3,
    "batch_size": 4,
    "gradient_accumulation_steps": 2,
    "max_seq_length": 128,
    "sample_tokens": 4,
}
SECONDS = 20


def tune(tuned: Any, data: Path, out: Path, report: Any = lambda done, total, note="": None, **options: Any) -> Any:
    trainer = MlxLoraTrainer(MlxLoraTrainer.Options.model_validate(OPTIONS | options))
    return trainer.train(tuned.base, data / "train.jsonl", data / "valid.jsonl", out, 5, report)


def losses(out: Path) -> list[tuple[int, float | None, float | None, float | None]]:
    rows = [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]
    return [(row["iteration"], row["train_loss"], row["valid_loss"], row["tokens"]) for row in rows]


def assert_alike(one: Path, other: Path) -> None:
    """The same moments, the same tokens, and losses that differ by the order of a sum at most."""
    for a, b in zip(losses(one), losses(other), strict=True):
        assert (a[0], a[3]) == (b[0], b[3])
        assert abs((a[1] or a[2] or 0) - (b[1] or b[2] or 0)) < 1e-4


def processes() -> dict[str, int]:
    """Index > process id of every process of the running training."""
    launchers = {process.pid for process in worker.running}
    ids = {}
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            environment = dict(
                part.split("=", 1) for part in (folder / "environ").read_text().split("\0") if "=" in part
            )
            parent = int((folder / "stat").read_text().rpartition(")")[2].split()[1])
        except (OSError, ValueError, UnicodeDecodeError):
            continue
        if "MLX_RANK" in environment and parent in launchers:
            ids[environment["MLX_RANK"]] = int(folder.name)
    return ids


def wait_for_the_end(ids: list[int]) -> None:
    """Come back when each process in the list has ended."""
    for process in ids:
        try:
            watched = os.pidfd_open(process)
        except ProcessLookupError:
            continue
        ended, _, _ = select.select([watched], [], [], SECONDS)
        os.close(watched)
        assert ended, f"process {process} was left behind"


@pytest.fixture(scope="module")
def uneven(rows_file: Callable[[Path, list[str]], Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """19 rows of very different lengths, so that no batch is shared equally, and three valid rows."""
    folder = tmp_path_factory.mktemp("uneven")
    rows_file(folder / "train.jsonl", [f"**So** it is, {i} times.\n\n" + "It burns. " * (i % 7) for i in range(19)])
    rows_file(folder / "valid.jsonl", ["**So** it is.", "It burns, **so** it does.", "It burns. " * 5])
    return folder


@pytest.fixture(scope="module")
def alone(tuned: Any, uneven: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("alone")
    tune(tuned, uneven, out)
    return out


def test_every_row_of_a_batch_is_on_one_process() -> None:
    import mlx.core as mx

    from understudy.trainers.mlx_group import share

    for rows in range(1, 9):
        batch = (mx.arange(rows * 4).reshape(rows, 4), mx.array([[1, 4]] * rows))
        for size in (1, 2, 3, 5):
            shares = [share(batch, index, size) for index in range(size)]
            rows_of_shares = [
                row for tokens, lengths in shares for row, (a, b) in zip(tokens.tolist(), lengths.tolist()) if a < b
            ]
            assert sorted(rows_of_shares) == batch[0].tolist()
            assert all(len(tokens) == len(lengths) >= 1 for tokens, lengths in shares)


def test_two_processes_go_through_the_losses_of_one_and_listen_on_the_loopback_only(
    tuned: Any, uneven: Path, alone: Path, tmp_path: Path
) -> None:
    addresses: set[str] = set()

    def look(done: int, total: int, note: str = "") -> None:
        for process in processes().values():
            sockets = set()
            for file in Path(f"/proc/{process}/fd").iterdir():
                try:
                    sockets.add(os.readlink(file))
                except OSError:
                    continue
            lines = [line.split() for line in Path(f"/proc/{process}/net/tcp").read_text().splitlines()[1:]]
            addresses.update(line[1].split(":")[0] for line in lines if f"socket:[{line[9]}]" in sockets)

    card = tune(tuned, uneven, tmp_path, look, hosts=TWO)
    assert addresses == {"0100007F"}
    assert card.world_size == 2 and card.measured_memory_bytes <= card.predicted_memory_bytes
    assert_alike(tmp_path, alone)
    assert sorted(file.name for file in tmp_path.rglob("*")) == sorted(file.name for file in alone.rglob("*"))


def test_a_process_that_dies_ends_the_run_in_one_sentence_and_the_run_resumes_from_a_hostfile(
    tuned: Any, uneven: Path, alone: Path, tmp_path: Path
) -> None:
    file, out = tmp_path / "hosts.json", tmp_path / "out"
    file.write_text(json.dumps([{"ssh": name, "ips": [name]} for name in TWO]))
    seen: dict[str, int] = {}

    def kill(done: int, total: int, note: str = "") -> None:
        if done >= 2 and not seen:
            seen.update(processes())
            os.kill(seen["1"], signal.SIGKILL)

    with pytest.raises(WorkerFailed, match=r"^process 1 of 2 \(on 127\.0\.0\.1\) was killed.*run again") as error:
        tune(tuned, uneven, out, kill, hosts=TWO)
    assert "\n" not in str(error.value) and sorted(seen) == ["0", "1"]
    wait_for_the_end(list(seen.values()))
    assert not (out / ".processes").exists()
    assert tune(tuned, uneven, out, hostfile=str(file)).world_size == 2
    assert_alike(out, alone)


def test_no_process_outlives_the_parent(tuned: Any, uneven: Path, tmp_path: Path) -> None:
    seen: dict[str, int] = {}

    def give_up(done: int, total: int, note: str = "") -> None:
        if done >= 1:
            seen.update(processes())
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        tune(tuned, uneven, tmp_path, give_up, hosts=TWO)
    assert sorted(seen) == ["0", "1"]
    wait_for_the_end(list(seen.values()))


def test_a_problem_that_one_process_finds_ends_them_all(tuned: Any, uneven: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no 'attention'; choose from"):
        tune(tuned, uneven, tmp_path, hosts=TWO, target_modules=["attention"])


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        ({"hosts": ["mac-1", "mac-2"]}, "'mac-1' is not an address"),
        ({"hosts": TWO * 40}, "80 processes are too many"),
        ({"hosts": TWO, "hostfile": "hosts.json"}, "both set"),
        ({"hostfile": "/nowhere.json"}, "is not a hostfile of mlx"),
    ],
)
def test_hosts_that_cannot_work_are_a_problem_before_the_run(options: dict[str, Any], problem: str) -> None:
    problems = MlxLoraTrainer(MlxLoraTrainer.Options.model_validate(options)).problems()
    assert len(problems) == 1 and problem in problems[0]


def test_one_host_alone_is_trained_on_as_if_it_had_not_been_named() -> None:
    assert MlxLoraTrainer(MlxLoraTrainer.Options(hosts=["127.0.0.1"])).problems() == []
