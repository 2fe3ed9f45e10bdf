"""Laws of the model's card: the Hub reads it, and it says nothing nobody stated."""

import dataclasses
from pathlib import Path
from typing import Any

import pytest
import yaml
from huggingface_hub import ModelCard

from understudy import config
from understudy.errors import ConfigError
from understudy.records import AdapterCard, BaseCard, CandidateScore, Interval, ParityCheck, ParityReport, Scorecard
from understudy.runs import model_card
from understudy.runs.model_card import About

ONE = Interval(value=2.5, low=2.0, high=3.0, n=9)


def scorecard(**words: Any) -> Scorecard:
    return Scorecard(
        channel="candles",
        run="0a1b2c3d",
        test_pairs=9,
        test_documents=3,
        test_sha256="0" * 64,
        candidates=[CandidateScore(name="fused", metrics={"nll_per_token": ONE})],
        differences={"nll_per_token": ONE},
        verdicts={"nll_per_token": "better", **words},
        honest=True,
    )


@pytest.fixture
def about(root: Path) -> About:
    """A tested base, two files."""
    adapter = {name: 1 for name in ("trainable_parameters", "steps", "iterations", "best_iteration", "longest_row")}
    return About(
        config=config.load(root / "deployments/presets/tiny.yaml", {"name": "candles"}),
        scorecard=scorecard(),
        base=BaseCard(name="Qwen/Qwen3-0.6B", architecture="qwen3", parameters=6, notes={"licence": "Apache-2.0"}),
        adapter=AdapterCard.model_validate(
            adapter
            | {"epochs": 1, "stopped_early": False, "base_valid_loss": 3, "best_valid_loss": 2, "padding_share": 0}
            | {"tokens_per_second": 1, "overhead_share": 0, "peak_memory_bytes": 1, "seconds": 1}
            | {"settings": {"rank": 16, "learning_rate": 0.002}}
        ),
        files={"Q8_0": ("candles-Q8_0.gguf", 2_000_000), "Q4_K_M": ("candles-Q4_K_M.gguf", 1_000_000)},
        summary="## candles: 0a1b2c3d\n\n| | verdict |\n|---|---|\n| loss | **better** |\n",
        counts={"talks": 4, "pairs": 40, "kept": 30, "train": 20, "valid": 5, "test": 5},
        languages=["en", "en", "de"],
    )


def front_matter(about: About) -> dict[str, Any]:
    return yaml.safe_load(model_card.write(about).split("---\n")[1])


def test_the_hubs_own_reader_finds_every_field(about: About, tmp_path: Path) -> None:
    (tmp_path / "README.md").write_text(model_card.write(about), encoding="utf-8")
    data = ModelCard.load(tmp_path / "README.md").data
    assert (data.base_model, data.license, data.language) == ("Qwen/Qwen3-0.6B", "apache-2.0", ["de", "en"])
    assert (data.library_name, data.pipeline_tag, data.model_name) == ("mlx", "text-generation", "candles")
    assert {"ai-generated-text", "style-imitation", "gguf"} <= set(data.tags)
    assert data.eval_results and [(r.metric_type, r.metric_value) for r in data.eval_results] == [("loss", 2.5)]
    assert data.datasets is None


def test_a_number_that_is_none_is_left_out(about: About) -> None:
    endless = CandidateScore(name="fused", metrics={"perplexity": ONE.model_copy(update={"value": float("inf")})})
    card = about.scorecard.model_copy(update={"candidates": [endless]})
    assert "model-index" not in front_matter(dataclasses.replace(about, scorecard=card))


def test_what_the_card_says_is_read_back(about: About, tmp_path: Path) -> None:
    (tmp_path / "README.md").write_text(model_card.write(about), encoding="utf-8")
    card = model_card.read(tmp_path / "README.md")
    assert (card.channel, card.run, card.permission) == ("candles", "0a1b2c3d", "owned")
    assert (card.base, card.base_licence) == ("Qwen/Qwen3-0.6B", "apache-2.0")


def test_a_page_says_whose_words_these_are_not_and_how_to_run_it(about: About) -> None:
    page = model_card.write(about)
    for words in (
        "Written by AI in the style of", "`permission: owned`", "Licence of the base: **apache-2.0**", "30 question",
        "| rank | 16 |", "**better**", "llama-cli -m candles-Q4_K_M.gguf", "-f candles-Q4_K_M.Modelfile",
        "lms import", "mlx_lm", "understudy chat", "may be wrong",
    ):  # fmt: skip
        assert words in page, words


def test_a_licence_nobody_stated_is_unknown_and_never_a_guess(about: About) -> None:
    base = about.base.model_copy(update={"name": "somebody/model", "notes": {}})
    unknown = dataclasses.replace(about, base=base)
    assert front_matter(unknown)["license"] == "unknown"
    assert front_matter(unknown)["understudy"]["base_licence"] is None
    assert "Licence of the base: **not stated**" in model_card.write(unknown)
    settings = about.config.model_copy(update={"publish": config.PublishSettings(base_licence="mit", dataset="a/b")})
    assert front_matter(dataclasses.replace(unknown, config=settings)) | {"license": "mit", "datasets": ["a/b"]} == (
        front_matter(dataclasses.replace(unknown, config=settings))
    )


def test_a_base_made_on_the_spot_has_no_licence_of_its_own(about: About) -> None:
    scratch = dataclasses.replace(about, base=about.base.model_copy(update={"name": "scratch", "notes": {}}))
    assert "base_model" not in front_matter(scratch) and front_matter(scratch)["license"] == "unknown"
    assert front_matter(scratch)["understudy"]["base_licence"] == "scratch"


def test_a_llama_says_what_its_licence_wants(about: About) -> None:
    base = about.base.model_copy(
        update={"name": "meta-llama/Llama-3.2-1B-Instruct", "notes": {"licence": "Llama 3.2 Community"}}
    )
    llama = dataclasses.replace(about, base=base)
    assert front_matter(llama)["license"] == "llama3.2" and "Built with Llama" in model_card.write(llama)


def test_every_tested_base_has_a_licence_the_hub_knows() -> None:
    from understudy.bases.known import KNOWN

    assert {base.licence for base in KNOWN} <= set(model_card.LICENCES)


def test_a_refused_file_is_named_with_its_reason_and_not_offered(about: About) -> None:
    check = ParityCheck(name="Q4_K_M", reference="F16", kl=ONE, bytes=1, refused="KL 2.5 is over 0.15")
    parity = ParityReport(channel="candles", run="0a1b2c3d", checks=[check], recommended="Q8_0")
    page = model_card.write(dataclasses.replace(about, refused={"Q4_K_M": "KL 2.5 is over 0.15"}, parity=parity))
    assert "Not offered: Q4_K_M, because KL 2.5" in page and "llama-cli -m candles-Q8_0.gguf" in page
    assert "| F16 → Q4_K_M |" in page and "candles-Q4_K_M.gguf" not in page


def test_what_is_worse_stands_among_the_limits(about: About) -> None:
    worse = dataclasses.replace(about, scorecard=scorecard(broken="worse"))
    assert "- broken: **worse** than the base." in model_card.write(worse)


@pytest.mark.parametrize(
    "text", ["# No metadata", "---\nlicense: mit\n---\n", "---\n- a list\n---\n", "---\na: [\n---\n"]
)
def test_a_card_that_is_not_ours_is_told_in_one_sentence(tmp_path: Path, text: str) -> None:
    (tmp_path / "README.md").write_text(text)
    with pytest.raises(ConfigError, match=r"metadata.*score the model again") as error:
        model_card.read(tmp_path / "README.md")
    assert len(error.value.problems) == 1


def test_a_missing_card_is_told(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"holds no README\.md"):
        model_card.read(tmp_path / "README.md")
