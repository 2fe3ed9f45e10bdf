"""Laws of training with torch: the rows, losses and files of mlx_lora; killed, out of memory, and refused alike."""

import json
import os
import shutil
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

torch = pytest.importorskip("torch", reason="the extra torch is not installed: make torch")
pytest.importorskip("peft", reason="the extra torch is not installed: make torch")
pytest.importorskip("accelerate", reason="the extra torch is not installed: make torch")

from tests.models.trainers.conftest import Run  # noqa: E402
from understudy import worker  # noqa: E402
from understudy.errors import AssetError, ConfigError, Diverged, WorkerFailed  # noqa: E402
from understudy.records import AdapterCard  # noqa: E402
from understudy.trainers import merge, torch_head, torch_loop, torch_lora_worker, torch_model  # noqa: E402
from understudy.trainers.external import ExternalTrainer  # noqa: E402
from understudy.trainers.lora_trainer import read_back  # noqa: E402
from understudy.trainers.peft_lora import PeftLoraTrainer  # noqa: E402
from understudy.trainers.plan import rate_at  # noqa: E402
from understudy.trainers.torch_job import TorchJob, TorchOptions  # noqa: E402

SETTINGS: dict[str, Any] = {
    "rank": 4, "alpha": 12, "learning_rate": 3e-3, "epochs": 2, "max_seq_length": 128, "dtype": "float32",
    "device": "cpu",
}  # fmt: skip


class Inside(PeftLoraTrainer):
    """The trainer with its worker's work done in this process: importing torch takes three seconds each time."""

    def run_worker(self, job: Any, progress: Any) -> AdapterCard:
        torch.set_num_threads(1)
        outcome = torch_lora_worker.run(TorchJob.model_validate(dict(job) | {"options": self.options}), progress)
        assert outcome.card
        return outcome.card


def silent(done: int, total: int, note: str = "") -> None:
    """Progress that is not shown."""


def tune(base: Path, data: Path, out: Path, kind: type[PeftLoraTrainer] = Inside, **options: Any) -> AdapterCard:
    progress = options.pop("progress", silent)
    trainer = kind(TorchOptions.model_validate(SETTINGS | options))
    return trainer.train(base, data / "train.jsonl", data / "valid.jsonl", out, 5, progress)


def metrics(out: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]


def losses(out: Path) -> list[tuple[int, float | None, float | None]]:
    return [(row["iteration"], row["train_loss"], row["valid_loss"]) for row in metrics(out)]


@pytest.fixture(scope="module")
def ours(tiny_base: Path, dataset: Path, tmp_path_factory: pytest.TempPathFactory) -> Run:
    out = tmp_path_factory.mktemp("torch")
    return Run(tiny_base, dataset, out, tune(tiny_base, dataset, out))


def test_both_trainers_see_the_same_tokens_in_the_same_order_and_read_the_same_base_loss(ours: Run, tuned: Run) -> None:
    for name in ("first_batch.txt", "plan.json", "dropped.jsonl", "adapter_config.json"):
        assert (ours.out / name).read_text() == (tuned.out / name).read_text(), name
    assert ours.card.base_valid_loss == pytest.approx(tuned.card.base_valid_loss, abs=1e-4)
    assert ours.card.best_valid_loss == pytest.approx(tuned.card.best_valid_loss, rel=0.02)
    mine, theirs = (
        [(r["iteration"], r["step"], r["tokens"], r["learning_rate"]) for r in metrics(run.out)]
        for run in (ours, tuned)
    )
    assert [row[:3] for row in mine] == [row[:3] for row in theirs]
    assert all(a[3] == pytest.approx(b[3], rel=1e-5) for a, b in zip(mine, theirs) if a[3] is not None)
    assert set(metrics(ours.out)[1]) == set(metrics(tuned.out)[1])


def test_the_files_hold_what_was_set_and_are_read_as_mlx_reads_its_own(ours: Run, tmp_path: Path) -> None:
    read_back(ours.out, TorchOptions.model_validate(SETTINGS), ours.card)
    with pytest.raises(AssetError, match=r"rank: \{8\} is set, \{4\} in the files"):
        read_back(ours.out, TorchOptions(rank=8, alpha=24), ours.card)
    assert (ours.card.dtype, ours.card.device) == ("float32", "cpu")
    assert ours.card.measured_memory_bytes and ours.card.predicted_memory_bytes
    names = {"adapters.safetensors", "adapter_config.json", "peft", "metrics.jsonl", "samples.jsonl", "plan.json"}
    assert names <= {file.name for file in ours.out.iterdir()}
    card = PeftLoraTrainer(TorchOptions()).fuse(ours.base, ours.out, tmp_path, silent)
    assert 0 < card.changed_share < 1


def test_the_fused_model_answers_like_peft_with_the_base(ours: Run, tmp_path: Path) -> None:
    from peft import PeftModel
    from transformers import AutoModelForCausalLM

    PeftLoraTrainer(TorchOptions()).fuse(ours.base, ours.out, tmp_path, silent)
    tokens = torch.tensor([[0, 9, 40, 70, 100, 41]])
    base = AutoModelForCausalLM.from_pretrained(ours.base, dtype=torch.float32)
    fused = AutoModelForCausalLM.from_pretrained(tmp_path, dtype=torch.float32)
    with torch.no_grad():
        plain = base(tokens).logits
        together = PeftModel.from_pretrained(base, ours.out / "peft").eval()(tokens).logits
        assert (together - fused(tokens).logits).abs().max() < 1e-3
        assert (together - plain).abs().max() > 1e-2


RESUMED = {"dropout": 0.1, "epochs": 6, "batch_size": 2, "gradient_accumulation_steps": 2, "patience": 50,
           "evaluations_per_epoch": 1, "sample_tokens": 4, "save_every": 3}  # fmt: skip


def test_a_run_killed_at_any_moment_ends_with_the_same_bytes(
    tiny_base: Path, dataset: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    tune(tiny_base, dataset, whole, **RESUMED)

    def kill(done: int, total: int, note: str = "") -> None:
        if done >= 7:
            for process in list(worker.running):
                os.kill(process.pid, signal.SIGKILL)

    with pytest.raises(WorkerFailed, match="killed"):
        tune(tiny_base, dataset, killed, PeftLoraTrainer, progress=kill, **RESUMED)
    notes: list[str] = []
    card = tune(tiny_base, dataset, killed, progress=lambda done, total, note="": notes.append(note), **RESUMED)
    assert any("resumes from checkpoint" in note for note in notes)
    assert losses(killed) == losses(whole) and card.steps == card.settings["planned_steps"]
    for name in ("adapters", "last/adapters", "last/resume", "checkpoints/0000003_adapters"):
        assert (killed / f"{name}.safetensors").read_bytes() == (whole / f"{name}.safetensors").read_bytes(), name
    before = losses(killed)
    tune(tiny_base, dataset, killed, **RESUMED)
    assert losses(killed) == before, "a finished run is not trained again"
    with pytest.raises(ConfigError, match="learning_rate 0.003, now 0.001: put that back"):
        tune(tiny_base, dataset, killed, **RESUMED | {"learning_rate": 1e-3})
    checkpoint = killed / "last" / "resume.safetensors"
    checkpoint.write_bytes(checkpoint.read_bytes()[:200])
    with pytest.raises(AssetError, match=r"resume\.safetensors cannot be read"):
        tune(tiny_base, dataset, killed, **RESUMED)


def test_a_card_whose_memory_runs_out_makes_the_same_update_in_halves_and_goes_on(
    ours: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    forward = torch_head.Student.forward

    def one_row_at_a_time(self: Any, tokens: Any, lengths: Any) -> Any:
        if self.training and len(tokens) > 1 and self.seen:
            raise torch.OutOfMemoryError("CUDA out of memory")
        self.seen = True
        return forward(self, tokens, lengths)

    monkeypatch.setattr(torch_head.Student, "seen", False, raising=False)
    monkeypatch.setattr(torch_head.Student, "forward", one_row_at_a_time)
    card = tune(ours.base, ours.data, tmp_path)
    assert "the card's memory ran out after iteration 0" in card.memory_plan and card.steps == ours.card.steps
    pairs = zip(losses(tmp_path), losses(ours.out), strict=True)
    assert all(abs((a[1] or a[2] or 0) - (b[1] or b[2] or 0)) < 1e-4 for a, b in pairs)


def test_a_row_does_not_see_its_neighbour_and_padding_costs_nothing(ours: Run) -> None:
    numbers = torch_model.Numbers("cpu", "float32")
    model = torch_model.load(ours.base, numbers, None)
    student = torch_head.Student(
        torch_model.add_lora(model, TorchOptions.model_validate(SETTINGS), ours.base, 1), numbers
    ).eval()
    assert student.head is not None
    tokens = torch.randint(10, 200, (2, 17), generator=torch.Generator().manual_seed(1))
    alone, _ = student(tokens[:1, :9], torch.tensor([[3, 9]]))
    for row in (1, 0):
        other = tokens.clone()
        other[1] = tokens[row].flip(0)
        both, count = student(other, torch.tensor([[3, 9], [17, 17]]))
        assert int(count) == 6 and float(both) == pytest.approx(float(alone), abs=1e-4)
    student.head = None
    stock, _ = student(tokens[:1, :9], torch.tensor([[3, 9]]))
    assert float(stock) == pytest.approx(float(alone), abs=1e-4)


def test_the_gradient_of_the_loss_in_parts_is_that_of_the_whole(ours: Run) -> None:
    head, dice = torch.nn.Linear(5, 40), torch.Generator().manual_seed(2)
    states = torch.randn(23, 5, generator=dice)
    targets = torch.randint(0, 40, (23,), generator=dice)
    one, other = (states.clone().requires_grad_() for _ in range(2))
    ours_nats = torch_head._TargetLoss.apply(one, targets, head, 7)
    whole = torch.nn.functional.cross_entropy(head(other), targets, reduction="sum")
    (ours_nats * 3).backward()
    (whole * 3).backward()
    assert float(ours_nats) == pytest.approx(float(whole), rel=1e-5)
    assert torch.allclose(one.grad, other.grad, atol=1e-5)


def test_checkpointing_and_bfloat16_change_memory_and_speed_and_hardly_a_loss(ours: Run, tmp_path: Path) -> None:
    card = tune(ours.base, ours.data, tmp_path / "again", grad_checkpoint="on", epochs=1)
    assert card.checkpointing
    for row, same in zip(losses(tmp_path / "again")[:2], losses(ours.out)[:2]):
        assert (row[1] or row[2]) == pytest.approx(same[1] or same[2], abs=1e-4)
    card = tune(ours.base, ours.data, tmp_path / "half", dtype="bfloat16", epochs=1)
    assert card.dtype == "bfloat16" and card.base_valid_loss == pytest.approx(ours.card.base_valid_loss, abs=0.05)


def test_rslora_is_in_the_files_and_one_layer_of_the_top_block_is_all_that_is_trained(
    ours: Run, tmp_path: Path
) -> None:
    options = {"use_rslora": True, "num_layers": 1, "target_modules": ["self_attn.q_proj"], "epochs": 1}
    tune(ours.base, ours.data, tmp_path, **options)
    [(name, gain)] = merge.deltas(tmp_path).items()
    assert name == "model.layers.1.self_attn.q_proj.weight" and gain.scale == 6


def test_the_rate_of_every_step_is_that_of_mlx() -> None:
    import mlx.core as mx

    from understudy.trainers.mlx_plugins import schedule

    for kind in ("cosine", "linear"):
        theirs = schedule(3e-4, 20, 0.13, kind)
        for step in range(20):
            assert rate_at(step, 3e-4, 20, 0.13, kind) == pytest.approx(theirs(mx.array(step)).item(), rel=1e-5)


def test_a_loss_that_became_nan_ends_the_run_and_keeps_the_best(ours: Run, tmp_path: Path) -> None:
    with pytest.raises(Diverged, match=r"at iteration \d+; the best weights .* learning_rate below 1e\+30"):
        tune(ours.base, ours.data, tmp_path, learning_rate=1e30)
    assert merge.deltas(tmp_path / "best").keys() == merge.deltas(ours.out).keys()


@pytest.mark.parametrize("name", ["use_dora", "modules_to_save", "init_lora_weights", "rank_pattern"])
def test_what_nothing_can_export_is_refused_before_training_with_the_reason(name: str) -> None:
    with pytest.raises(ValidationError, match=f"{name} cannot be exported: "):
        TorchOptions.model_validate({name: ["x"]})


def test_what_this_machine_lacks_is_said_before_training(monkeypatch: pytest.MonkeyPatch) -> None:
    def problems(**options: Any) -> list[str]:
        return PeftLoraTrainer(TorchOptions.model_validate(options)).problems()

    assert problems() == []
    assert problems(hosts=["127.0.0.1", "127.0.0.1"]) == []
    assert "among the cards of this machine" in problems(hosts=["127.0.0.1", "10.0.0.7"])[0]
    [sentence] = problems(base_bits=4)
    assert "bitsandbytes" in sentence and "leave base_bits out" in sentence
    monkeypatch.setattr("understudy.trainers.machine.torch_versions", lambda: ["2.9.0", "2.14.1"])
    assert "two versions of torch are installed here (2.9.0 and 2.14.1)" in problems()[0]


def test_a_device_a_layer_or_a_base_that_is_not_there_is_named(ours: Run, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"no 'attention'; choose from .*self_attn\.q_proj"):
        tune(ours.base, ours.data, tmp_path, target_modules=["attention"])
    with pytest.raises(ConfigError, match="2 blocks, not 3"):
        tune(ours.base, ours.data, tmp_path, num_layers=3)
    with pytest.raises(ConfigError, match=r"needs 0\.6 GB as it is set.*may take 0\.5 GB \(trainer\.memory_limit"):
        tune(ours.base, ours.data, tmp_path, memory_limit_gb=0.5)
    if not torch.cuda.is_available():
        with pytest.raises(ConfigError, match="torch finds no cuda here"):
            tune(ours.base, ours.data, tmp_path, device="cuda")
    packed = tmp_path / "packed"
    shutil.copytree(ours.base, packed)
    config = json.loads((packed / "config.json").read_text()) | {"quantization": {"bits": 4, "group_size": 64}}
    (packed / "config.json").write_text(json.dumps(config))
    with pytest.raises(ConfigError, match="was quantized by mlx, which torch cannot read"):
        tune(packed, ours.data, tmp_path / "out")


def test_the_loop_of_transformers_still_has_the_hooks_that_are_taken() -> None:
    from transformers import Trainer

    hooks = ("get_train_dataloader", "compute_loss", "training_step", "log")
    assert all(callable(getattr(Trainer, name)) and name in vars(torch_loop.Loop) for name in hooks)


@pytest.mark.parametrize("form", [".", "peft"])
def test_an_adapter_from_elsewhere_is_taken_in_and_fused_as_our_own(ours: Run, tmp_path: Path, form: str) -> None:
    trainer = ExternalTrainer(ExternalTrainer.Options(path=ours.out / form))
    assert trainer.problems() == []
    rows = (ours.data / "train.jsonl", ours.data / "valid.jsonl")
    card = trainer.train(ours.base, *rows, tmp_path / "adopted", 1, silent)
    assert card.base_valid_loss == pytest.approx(ours.card.base_valid_loss, abs=1e-3)
    assert card.best_valid_loss == pytest.approx(ours.card.best_valid_loss, abs=1e-3)
    assert card.trainable_parameters == ours.card.trainable_parameters and card.settings["data_checked"]
    for name, kind in (("ours", PeftLoraTrainer(TorchOptions())), ("theirs", trainer)):
        (tmp_path / name).mkdir()
        kind.fuse(ours.base, ours.out if name == "ours" else tmp_path / "adopted", tmp_path / name, silent)
    one, other = (merge.shards(tmp_path / name)[0].read_bytes() for name in ("ours", "theirs"))
    assert one == other


def test_an_adapter_for_another_base_or_from_other_rows_is_refused(
    ours: Run, tmp_path: Path, rows_file: Callable[[Path, list[str]], Path]
) -> None:
    folder = tmp_path / "peft"
    shutil.copytree(ours.out / "peft", folder)
    trainer = ExternalTrainer(ExternalTrainer.Options(path=folder))
    rows = (ours.data / "train.jsonl", ours.data / "valid.jsonl")
    other = tmp_path / "other"
    shutil.copytree(ours.base, other)
    with merge.shards(other)[0].open("r+b") as weights:
        weights.seek(-1, 2)
        weights.write(b"\x3f")
    with pytest.raises(AssetError, match="was trained on another base than other"):
        trainer.train(other, *rows, tmp_path / "out", 1, silent)
    (folder / "understudy.json").unlink()
    (folder / "identity.json").write_text(json.dumps({"train": "0" * 64, "valid": "0" * 64}))
    with pytest.raises(AssetError, match="was trained on another train split"):
        trainer.train(ours.base, *rows, tmp_path / "out", 1, silent)


@pytest.mark.parametrize(
    ("files", "message"),
    [((), "is no folder"), (("x",), "holds no adapter_config.json"), (("adapter_config.json",), "holds neither")],
)
def test_a_folder_that_is_no_adapter_is_refused(files: tuple[str, ...], message: str, tmp_path: Path) -> None:
    folder = tmp_path / "adapter"
    if files:
        folder.mkdir()
    for name in files:
        (folder / name).write_text("{}")
    trainer = ExternalTrainer(ExternalTrainer.Options(path=folder))
    assert message in trainer.problems()[0]
    with pytest.raises(ConfigError, match=message):
        trainer.contents()


def test_a_trial_of_a_rate_ends_with_its_losses_and_keeps_no_weights(ours: Run, tmp_path: Path) -> None:
    from understudy.stages import tune as tuning

    trainer = Inside(TorchOptions.model_validate(SETTINGS | {"epochs": 1}))
    rows = (ours.data / "train.jsonl", ours.data / "valid.jsonl")
    card = tuning.trial(trainer, 3e-3, 0.036, ours.base, *rows, tmp_path, 5, silent)
    assert card.dropped is None and card.base_valid_loss == card.valid_losses[0][1] > card.valid_losses[-1][1]
    assert card.steps > 1 and not list(tmp_path.rglob("*.safetensors"))


def test_training_twice_gives_the_same_bytes(ours: Run, tmp_path: Path) -> None:
    from understudy import store

    tune(ours.base, ours.data, tmp_path)
    assert store.folder_digest(tmp_path)[0] == store.folder_digest(ours.out)[0]
