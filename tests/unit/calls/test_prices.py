"""What calls cost: by the table, by the preset, or nothing."""

import subprocess
import sys

import pytest

from understudy.calls import Usage
from understudy.calls.prices import Price, is_local, price_of, window_of
from understudy.errors import ConfigError
from understudy.registry import option_problems
from understudy.teachers.openai import PriceOption

MILLION = 1_000_000


def test_cached_tokens_are_part_of_the_input_and_cost_less() -> None:
    usd = price_of("gpt-5-mini")
    assert usd(Usage(input=MILLION), None) == pytest.approx(0.25)
    assert usd(Usage(input=MILLION, cached=MILLION), None) == pytest.approx(0.025)
    assert usd(Usage(output=MILLION, reasoning=MILLION // 2), "default") == pytest.approx(2.0)


def test_a_long_context_costs_what_the_table_says_of_long_contexts() -> None:
    usd = price_of("gpt-5.4")
    assert usd(Usage(input=300_000), None) / 300_000 == pytest.approx(2 * usd(Usage(input=100_000), None) / 100_000)


def test_flex_is_cheaper_only_where_the_table_knows_it_and_batch_is_half() -> None:
    usage = Usage(input=10_000, output=1_000)
    for model, flex_share in (("gpt-5-mini", 0.5), ("gpt-4o-mini", 1.0)):
        usd = price_of(model)
        assert usd(usage, "flex") == pytest.approx(flex_share * usd(usage, None))
        assert usd(usage, "batch") == pytest.approx(0.5 * usd(usage, None))


def test_a_local_server_costs_nothing() -> None:
    for provider in ("llama_cpp", "http://127.0.0.1:8080/v1", "http://192.168.1.4/v1", "http://box:1234/v1"):
        assert price_of("anything", provider)(Usage(input=MILLION, output=MILLION), None) == 0


def test_the_presets_own_price_beats_the_table_and_a_local_address() -> None:
    usage = Usage(input=MILLION, cached=MILLION // 2, output=MILLION)
    plain = PriceOption(input=1.0, output=3.0).price()
    assert price_of("gpt-5-mini", override=plain)(usage, "flex") == pytest.approx(4.0)
    own = PriceOption(input=1.0, output=3.0, cached=0.1).price()
    assert price_of("x", "http://localhost:4000", own)(usage, None) == pytest.approx(3.55)
    assert price_of("x", override=Price(0, 0, 2, 0))(Usage(input=MILLION, written=MILLION), None) == 2


def test_a_model_nobody_knows_asks_for_its_price() -> None:
    for model, provider in (("gpt-5-miniature", "openai"), ("gpt-5-mini", "https://llm.example.org/v1"), ("m", "who")):
        with pytest.raises(ConfigError, match="teacher.price: {input") as raised:
            price_of(model, provider)
        assert model in str(raised.value)


def test_a_price_that_is_none_is_refused() -> None:
    for price in ({"input": 1.0}, {"input": -1.0, "output": 1.0}, {"input": 1.0, "output": 2.0, "ouput": 1.0}):
        (problem,) = option_problems("teacher", "openai", {"model": "m", "price": price})
        assert problem.startswith("price.")


def test_an_address_is_priced_by_the_provider_behind_it() -> None:
    assert price_of("gpt-5-mini", "https://api.openai.com/v1")(Usage(input=MILLION), None) == pytest.approx(0.25)


def test_a_window_is_known_for_hosted_models_only() -> None:
    assert window_of("gpt-5-mini") == 400_000
    assert window_of("gpt-5-mini", "https://api.openai.com/v1") == 400_000
    assert window_of("no-such-model") is None
    assert window_of("gpt-oss-20b", "http://localhost:11434/v1") is None


def test_private_addresses_are_local_and_public_ones_are_not() -> None:
    assert all(is_local(f"http://{host}/v1") for host in ("[::1]:8080", "10.0.0.2", "mac.local", "localhost:1"))
    private = ("box.home.arpa", "box.lan.", "llm.tea.svc", "box.tail1.ts.net", "100.101.102.103", "[fe80::1%25en0]")
    assert all(is_local(f"http://{host}/v1") for host in private)
    assert not any(is_local(f"https://{host}/v1") for host in ("api.openai.com", "8.8.8.8", "100.128.0.1"))


def test_a_model_that_a_router_gives_for_nothing_needs_no_price() -> None:
    for provider in ("openrouter", "https://openrouter.ai/api/v1"):
        assert price_of("maker/model-7b:free", provider)(Usage(input=MILLION, output=MILLION), None) == 0
    with pytest.raises(ConfigError):
        price_of("maker/model-7b:freely", "https://openrouter.ai/api/v1")


def test_importing_the_calls_loads_nothing_heavy() -> None:
    code = (
        "import sys, understudy.calls.chat, understudy.calls.prices; "
        "print([m for m in ('openai', 'httpx2', 'jiter', 'genai_prices') if m in sys.modules])"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "[]\n"
