"""Laws of publishing, against a hub on this machine."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.fixtures.hub import Hub, fill, running
from understudy.errors import ConfigError, Transient, UnderstudyError
from understudy.runs.hub import chosen, problems, publish

TOKEN = "hf_secret_of_nobody"
REPOSITORY = "somebody/candles"
MODEL = (
    "README.md",
    "scorecard.json",
    "report.html",
    "gguf/m-Q8_0.gguf",
    "gguf/m-Q8_0.Modelfile",
    "gguf/m-refused.gguf",
    "fused/config.json",
    "fused/model.safetensors",
    "adapter/adapters.safetensors",
)
OTHER = (
    "gguf/m.log",
    "gguf/.m.gguf",
    "fused/card.json",
    "fused/.manifest.json",
    "adapter/metrics.jsonl",
    "adapter/samples.jsonl",
    "adapter/first_batch.txt",
    "adapter/best/adapters.safetensors",
    "adapter/last/adapters.safetensors",
    "data/documents/talk/README.md",
    "data/model.gguf",
    "samples/base.jsonl",
    "calls/config.json",
    "ledger.sqlite",
    "calls.sqlite",
    "pairs.parquet",
    "train.jsonl",
    "run.json",
    "parity.json",
    ".env",
    ".cache/config.json",
)


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    # Xet is a service of its own beside the hub; without it the client uploads to the hub itself.
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_DISABLE_XET", True)
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    with running() as server:
        monkeypatch.setenv("HF_ENDPOINT", server.url)
        yield server


@pytest.fixture
def model(tmp_path: Path) -> Path:
    """A run's folder, with more in it than may leave the machine."""
    folder = tmp_path / "run"
    fill(folder, MODEL + OTHER)
    (folder / "README.md").write_text("---\nlicense: mit\n---\n# A model\n")
    outside = tmp_path / "secret.gguf"
    outside.write_bytes(b"somebody else's")
    (folder / "gguf" / "linked.gguf").symlink_to(outside)
    return folder


def test_only_the_model_leaves_the_machine_and_lies_where_programs_look(hub: Hub, model: Path) -> None:
    done = publish(chosen(model, ["m-refused.gguf"]), REPOSITORY)
    assert done.address == f"{hub.url}/{REPOSITORY}" and not done.removed
    assert sorted(hub.files) == sorted(done.sent) == [
        "README.md",
        "adapter/adapters.safetensors",
        "config.json",
        "m-Q8_0.Modelfile",
        "m-Q8_0.gguf",
        "model.safetensors",
        "report.html",
        "scorecard.json",
    ]  # fmt: skip
    assert hub.files["config.json"] == b"the bytes of fused/config.json"


def test_a_second_call_sends_only_what_changed(hub: Hub, model: Path) -> None:
    publish(chosen(model), REPOSITORY)
    sent = hub.puts
    assert publish(chosen(model), REPOSITORY).sent == [] and len(hub.commits) == 1
    (model / "report.html").write_text("newer")
    assert publish(chosen(model), REPOSITORY).sent == ["report.html"]
    assert hub.puts == sent and hub.commits[1:] == [["report.html"]] and hub.files["report.html"] == b"newer"


def test_what_is_no_longer_part_of_the_model_is_removed_and_nothing_else(hub: Hub, model: Path) -> None:
    hub.files |= {"model-00001-of-00002.safetensors": b"old", "notes.md": b"theirs", ".gitattributes": b"hub's"}
    publish(chosen(model), REPOSITORY)
    done = publish(chosen(model, ["m-refused.gguf"]), REPOSITORY)
    assert done.removed == ["m-refused.gguf"] and done.sent == []
    assert {"notes.md", ".gitattributes"} <= set(hub.files)
    assert not {"m-refused.gguf", "model-00001-of-00002.safetensors"} & set(hub.files)


def test_a_model_is_private_unless_told_otherwise(hub: Hub, model: Path) -> None:
    publish(chosen(model), REPOSITORY)
    publish(chosen(model), REPOSITORY, private=False)
    assert [made["visibility"] for made in hub.created] == ["private", "public"]
    assert {f"Bearer {TOKEN}"} <= hub.tokens <= {f"Bearer {TOKEN}", None}


def test_nothing_private_goes_into_a_repository_everybody_sees(hub: Hub, model: Path) -> None:
    hub.private = False
    with pytest.raises(ConfigError, match="already exists and is public; add --public"):
        publish(chosen(model), REPOSITORY)
    assert not hub.files and not hub.puts


def test_every_reason_not_to_publish_is_told_at_once(tmp_path: Path) -> None:
    reasons = problems({}, tmp_path, "candles", "own_risk", "secret-eula")
    for words in ("owner/name", "own_risk", "secret-eula", "README.md", "scorecard.json", "no weights"):
        assert sum(words in problem for problem in reasons) >= 1
    assert any("is not stated" in problem for problem in problems({}, tmp_path, REPOSITORY, "owned", None))


@pytest.mark.parametrize(
    ("permission", "allowed"),
    [("owned", True), ("permitted", True), ("public_domain", True), ("own_risk", False), (None, False)],
)
def test_a_model_goes_only_with_the_right_to_the_talks(model: Path, permission: str | None, allowed: bool) -> None:
    assert (problems(chosen(model), model, REPOSITORY, permission, "apache-2.0") == []) is allowed


def test_a_licence_with_terms_goes_with_the_model(model: Path) -> None:
    text = " ".join(problems(chosen(model), model, REPOSITORY, "owned", "llama3.2"))
    assert "LICENSE" in text and "begins with 'Llama'" in text
    (model / "LICENSE.txt").write_text("terms")
    assert problems(chosen(model), model, "somebody/Llama-candles", "owned", "llama3.2") == []


@pytest.mark.parametrize(("status", "kind"), [(401, ConfigError), (403, ConfigError), (422, UnderstudyError)])
def test_the_token_is_in_no_message(hub: Hub, model: Path, status: int, kind: type[Exception]) -> None:
    hub.status = status
    with pytest.raises(kind, match=str(status)) as error:
        publish(chosen(model), REPOSITORY)
    assert TOKEN not in str(error.value) and error.value.__cause__ is None and "\n" not in str(error.value)


def test_a_token_that_may_only_read_is_told(hub: Hub, model: Path) -> None:
    hub.read_only = True
    with pytest.raises(ConfigError, match="403.*may only read.*needs write access"):
        publish(chosen(model), REPOSITORY)
    assert not hub.files


def test_without_a_token_the_hub_is_not_asked(
    hub: Hub, model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("HF_TOKEN")
    monkeypatch.setattr("huggingface_hub.constants.HF_TOKEN_PATH", str(tmp_path / "no-token"))
    with pytest.raises(ConfigError, match="HF_TOKEN.*hf auth login"):
        publish(chosen(model), REPOSITORY)
    assert not hub.tokens


def test_a_hub_that_is_not_there_may_be_tried_again(hub: Hub, model: Path) -> None:
    with pytest.raises(Transient, match="could not be reached.*same command again") as error:
        publish(chosen(model), REPOSITORY, endpoint="http://127.0.0.1:9")
    assert TOKEN not in str(error.value)


def test_an_upload_that_breaks_off_leaves_nothing_half_published_and_goes_on(hub: Hub, model: Path) -> None:
    hub.put_status = [200, 507]  # one file arrives, the next finds the store full
    with pytest.raises(Transient, match="507.*sends only what is missing") as error:
        publish(chosen(model), REPOSITORY)
    assert not hub.files and TOKEN not in str(error.value)
    arrived = hub.puts
    publish(chosen(model), REPOSITORY)
    weights = [name for name in chosen(model) if name.endswith((".gguf", ".safetensors"))]
    assert arrived >= 1 and hub.puts == len(weights) and set(hub.files) == set(chosen(model))


def test_a_moment_of_weakness_of_the_hub_is_waited_for(hub: Hub, model: Path) -> None:
    hub.put_status = [503]
    assert len(publish(chosen(model), REPOSITORY).sent) == len(chosen(model))


def test_a_card_the_hub_refuses_is_named(hub: Hub, model: Path) -> None:
    hub.refused_metadata = '"license" must be one of a list'
    with pytest.raises(ConfigError, match=r"README\.md.*license"):
        publish(chosen(model), REPOSITORY)
    assert not hub.files and not hub.puts


def test_a_folder_of_a_channel_holds_nothing_to_publish(tmp_path: Path) -> None:
    fill(tmp_path, ("documents/a/answers.json", "dataset/train.jsonl", "ledger.sqlite", "dataset/README.md"))
    assert chosen(tmp_path) == {}
