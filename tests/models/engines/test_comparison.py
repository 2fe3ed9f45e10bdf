"""Laws of the comparison of two models, on a tiny random Llama and what was made of it."""

import json
import shutil
from pathlib import Path

import pytest

from understudy.engines.comparison import compare, needed
from understudy.errors import ExportError
from understudy.interfaces import Candidate
from understudy.records import ChatExample, Pair

Rows = list[tuple[Pair, ChatExample]]


def quiet(done: int, total: int, note: str = "") -> None:
    """No one watches."""


@pytest.fixture(scope="module")
def folder(tiny_folder: Path) -> Candidate:
    return Candidate("fused", "mlx", tiny_folder)


@pytest.fixture(scope="module")
def f16(tiny_gguf: Path) -> Candidate:
    return Candidate("F16", "llama_cpp", tiny_gguf)


@pytest.fixture(scope="module")
def noisy(tiny_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Candidate:
    """The tiny model with some noise in one matrix."""
    return _changed(tiny_folder, tmp_path_factory.mktemp("noisy") / "model", noise=0.02)


def _changed(folder: Path, out: Path, noise: float) -> Candidate:
    import mlx.core as mx

    shutil.copytree(folder, out)
    weights = dict(mx.load(str(out / "model.safetensors")))
    name = "lm_head.weight"
    weights[name] = weights[name] + noise * mx.random.normal(weights[name].shape, key=mx.random.key(1))
    mx.save_safetensors(str(out / "model.safetensors"), weights, metadata={"format": "pt"})
    return Candidate("noisy", "mlx", out)


def test_a_model_does_not_differ_from_itself(folder: Candidate, f16: Candidate, rows: Rows) -> None:
    for one in (folder, f16):
        compared = compare(one, one, rows, quiet, threads=1)
        assert compared.exact and len(compared.rows) == len(rows)
        for row in compared.rows:
            assert row.kl == 0 and row.nll == row.reference_nll and row.top1_agreement == row.tokens


def test_the_same_weights_in_two_formats_agree(folder: Candidate, f16: Candidate, rows: Rows) -> None:
    compared = compare(folder, f16, rows, quiet, threads=1)
    for row in compared.rows:
        assert row.kl / row.tokens < 1e-3
        assert abs(row.nll - row.reference_nll) / row.tokens < 0.01
        assert row.top1_agreement >= 0.9 * row.tokens


def test_the_comparison_finds_the_losses_the_engines_find(folder: Candidate, rows: Rows) -> None:
    from understudy.engines.mlx import MlxEngine

    samples = MlxEngine(MlxEngine.Options()).run(folder.model, None, rows, 0, 8, quiet)
    compared = compare(folder, folder, rows, quiet)
    for row, sample in zip(compared.rows, samples, strict=True):
        assert row.tokens == sample.tokens and row.nll == pytest.approx(sample.nll, abs=1e-3)


def test_one_after_the_other_is_a_lower_bound_and_says_so(folder: Candidate, noisy: Candidate, rows: Rows) -> None:
    whole = compare(folder, noisy, rows, quiet)
    apart = compare(folder, noisy, rows, quiet, memory_bytes=0)
    assert whole.exact and not apart.exact
    for one, other in zip(whole.rows, apart.rows, strict=True):
        assert 0.5 * one.kl < other.kl <= one.kl + 1e-6 and one.kl > 0
        assert (one.nll, one.reference_nll, one.top1_agreement) == (
            pytest.approx(other.nll),
            pytest.approx(other.reference_nll),
            other.top1_agreement,
        )


def test_another_template_or_tokenizer_is_refused_with_the_place(
    folder: Candidate, tiny_folder: Path, tmp_path: Path, rows: Rows
) -> None:
    shutil.copytree(tiny_folder, tmp_path / "other")
    settings = json.loads((tmp_path / "other/tokenizer_config.json").read_text())
    settings["chat_template"] = settings["chat_template"].replace("\n\n", "\n")
    (tmp_path / "other/tokenizer_config.json").write_text(json.dumps(settings))
    with pytest.raises(ExportError, match=r"other: reads other tokens than fused: pair talk-0#0 .* token \d+"):
        compare(folder, Candidate("other", "mlx", tmp_path / "other"), rows, quiet)


def test_damaged_weights_are_refused_by_name(folder: Candidate, tiny_folder: Path, tmp_path: Path, rows: Rows) -> None:
    broken = _changed(tiny_folder, tmp_path / "broken", noise=float("nan"))
    with pytest.raises(ExportError, match="logits of noisy are not finite"):
        compare(folder, broken, rows, quiet)


def test_what_both_need_is_known_before_they_are_read(folder: Candidate, f16: Candidate) -> None:
    on_disk = (folder.model / "model.safetensors").stat().st_size
    assert needed(folder) in (on_disk, 2 * on_disk) and needed(f16) == f16.model.stat().st_size
    assert needed(Candidate("gone", "llama_cpp", Path("nothing.gguf"))) == 0
