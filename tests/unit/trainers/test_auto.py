"""`trainer: auto` goes by what is installed, is chosen once, and said with its reason."""

import json
import logging
from pathlib import Path
from typing import Any

import pytest

from understudy.config import Config
from understudy.runs import local_trainer
from understudy.trainers import machine
from understudy.workspace import Workspace

KNOWN: dict[str, Any] = {
    "name": "talks",
    "source": {"use": "documents", "path": "talks"},
    "teacher": {"use": "extractive"},
    "base": "scratch",
}


def here(
    monkeypatch: pytest.MonkeyPatch, apple: bool = False, card: bool = False, flags: str = "", lacks: str = ""
) -> None:
    """Let this machine look like another."""
    monkeypatch.setattr(machine, "apple_silicon", lambda: apple)
    monkeypatch.setattr(machine, "has_card", lambda: card)
    monkeypatch.setattr(machine, "flags", lambda: frozenset(flags.split()))
    monkeypatch.setattr(machine, "missing", lambda packages: [name for name in packages if name in lacks.split()])


MACHINES: list[tuple[dict[str, Any], str, str]] = [
    ({"apple": True}, "mlx_lora", "Apple silicon"),
    ({"apple": True, "lacks": "mlx"}, "peft_lora", "mlx is not"),
    ({"card": True}, "peft_lora", "NVIDIA card"),
    ({"card": True, "lacks": "torch"}, "mlx_lora", "torch is not installed"),
    ({"flags": "sse2 avx512_bf16"}, "peft_lora", "avx512_bf16"),
    ({"flags": "amx_bf16"}, "peft_lora", "amx_bf16"),
    ({"flags": "avx2"}, "mlx_lora", "gain nothing"),
    ({"lacks": "mlx"}, "peft_lora", "mlx is not"),
    ({"lacks": "mlx torch"}, "peft_lora", "mlx is not installed here"),
]


@pytest.mark.parametrize(("looks", "trainer", "reason"), MACHINES, ids=lambda x: str(x)[:40])
def test_the_trainer_is_the_one_that_the_machine_is_good_at(
    looks: dict[str, Any], trainer: str, reason: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    here(monkeypatch, **looks)
    choice = machine.choose()
    assert choice.trainer == trainer and reason in choice.reason


def test_a_channel_keeps_its_trainer_whatever_the_next_machine_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "understudy.train")
    config = Config.model_validate(KNOWN | {"trainer": {"use": "auto", "rank": 4}})
    workspace = Workspace(home=tmp_path, config=config)
    here(monkeypatch, card=True)
    assert local_trainer.resolved(workspace).config.trainer.use == "peft_lora"
    assert workspace.ledger.note(local_trainer.NOTE) is None, "looking notes nothing"
    first = local_trainer.chosen(workspace).config.trainer
    assert (first.use, first.options) == ("peft_lora", {"rank": 4})
    assert json.loads(workspace.ledger.note(local_trainer.NOTE) or "")["trainer"] == "peft_lora"
    here(monkeypatch, apple=True)
    assert local_trainer.chosen(workspace).config.trainer.use == "peft_lora"
    assert "as there is an NVIDIA card" in caplog.messages[0] and "began with it" in caplog.messages[1]


def test_a_trainer_that_was_named_is_not_looked_for(tmp_path: Path) -> None:
    workspace = Workspace(home=tmp_path, config=Config.model_validate(KNOWN | {"trainer": "mlx_lora"}))
    assert local_trainer.chosen(workspace) is workspace and local_trainer.resolved(workspace) is workspace
