"""A server on this machine is known by its own answers, and the choice is made once."""

import json
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest

from understudy.channel.ledger import Row
from understudy.config import load
from understudy.errors import ConfigError
from understudy.runs import local_teacher
from understudy.workspace import Workspace

ROOT = Path(__file__).resolve().parents[3]
Pages = dict[str, Any]
OLLAMA: Pages = {
    "/api/version": {"version": "0.12.0"},
    "/api/tags": {
        "models": [
            {"name": "qwen3:8b", "size": 5_200_000_000, "details": {"parameter_size": "8.2B"}},
            {"name": "gemma3:1b", "size": 800_000_000, "details": {"parameter_size": "999.89M"}},
            {"name": "llama3.3:70b", "size": 10**15, "details": {"parameter_size": "70.6B"}},
            {"name": "nomic-embed-text:latest", "size": 270_000_000, "details": {"parameter_size": "137M"}},
        ]
    },
}
LM_STUDIO: Pages = {
    "/api/v0/models": {
        "data": [{"id": "qwen3-4b", "type": "llm"}, {"id": "text-embedding-nomic-7b", "type": "embeddings"}]
    }
}
LLAMA_CPP: Pages = {
    "/props": {"default_generation_settings": {}},
    "/v1/models": {"object": "list", "data": [{"id": "model.gguf", "meta": {"n_params": 7_241_732_096}}]},
}
MLX_LM: Pages = {
    "/health": {"status": "ok"},
    "/v1/models": {"object": "list", "data": [{"id": "mlx-community/Qwen3-4B-4bit", "object": "model", "created": 1}]},
}
UNKNOWN: Pages = {"/v1/models": {"object": "list", "data": [{"id": "some-13b", "object": "model", "owned_by": "me"}]}}


@pytest.fixture
def serve(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[Pages], str]]:
    running: list[HTTPServer] = []

    def start(pages: Pages) -> str:
        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                body = json.dumps(pages.get(self.path, {})).encode()
                self.send_response(200 if self.path in pages else 404)
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: object) -> None:
                pass

        running.append(HTTPServer(("127.0.0.1", 0), Handler))
        threading.Thread(target=running[-1].serve_forever, daemon=True).start()
        address = f"http://127.0.0.1:{running[-1].server_address[1]}"
        monkeypatch.setenv(local_teacher.SERVERS, " ".join(f"http://127.0.0.1:{s.server_address[1]}" for s in running))
        return address

    yield start
    for server in running:
        server.shutdown()
        server.server_close()


def workspace(home: Path) -> Workspace:
    changes = {"name": "tea", "source": {"use": "documents", "path": str(home)}}
    return Workspace(home=home, config=load(ROOT / "deployments/presets/documents.yaml", changes))


@pytest.mark.parametrize(
    ("pages", "program", "model"),
    [
        (OLLAMA, "Ollama", "qwen3:8b"),
        (LM_STUDIO, "LM Studio", "qwen3-4b"),
        (LLAMA_CPP, "llama.cpp", "model.gguf"),
        (MLX_LM, "mlx_lm", "mlx-community/Qwen3-4B-4bit"),
        (UNKNOWN, None, None),
        ({}, None, None),
    ],
)
def test_a_known_server_is_known_by_its_answers_and_its_largest_model_that_fits_is_taken(
    pages: Pages, program: str | None, model: str | None, serve: Callable[[Pages], str]
) -> None:
    serve(pages)
    models = local_teacher.found()
    assert [(one.program, one.name) for one in models] == ([(program, model)] if model else [])


def test_the_choice_is_made_once_and_a_server_that_is_away_stops_the_run(
    serve: Callable[[Pages], str], tmp_path: Path
) -> None:
    address, asked = serve(LM_STUDIO), workspace(tmp_path)
    first = local_teacher.resolved(asked)
    assert first.config.teacher.options == {"model": "qwen3-4b", "base_url": f"{address}/v1"}
    assert local_teacher.resolved(first) is first
    assert local_teacher.chosen(asked) == first
    serve(OLLAMA)
    assert local_teacher.resolved(asked).config.teacher == first.config.teacher, "a larger one came too late"
    changed = json.dumps(first.config.teacher.options | {"use": "openai", "base_url": "http://127.0.0.1:9/v1"})
    asked.ledger.set_note(local_teacher.NOTE, changed)
    with pytest.raises(ConfigError, match="qwen3-4b at http://127.0.0.1:9 answers .* no server there offers it now"):
        local_teacher.resolved(asked)


def test_without_a_server_or_in_a_channel_that_was_begun_the_free_teacher_stays(
    serve: Callable[[Pages], str], tmp_path: Path
) -> None:
    assert local_teacher.resolved(workspace(tmp_path / "new")).config.teacher.use == "extractive"
    serve(OLLAMA)
    begun = workspace(tmp_path / "begun")
    begun.ledger.record(Row("a", "A", "a.txt", "1", "ok"))
    assert local_teacher.resolved(begun).config.teacher.use == "extractive"
