"""
What a call costs in USD, from a price table that needs no network, or from the preset.

A local server costs nothing. A model of unknown price is a problem of the set-up: a budget
that counts unknown calls as free is no budget.
"""

import ipaddress
from collections.abc import Callable
from typing import Any, NamedTuple
from urllib.parse import urlsplit

from understudy.calls import Usage
from understudy.errors import ConfigError

MILLION = 1_000_000
LOCAL_PROVIDERS = ("llama_cpp", "local")
ORDINARY_TIERS = (None, "standard", "default", "auto")
BATCH_SHARE = 0.5

_SHARED = ipaddress.ip_network("100.64.0.0/10")  # of carriers and of private overlay networks

Usd = Callable[[Usage, str | None], float]


class Price(NamedTuple):
    """USD per million tokens."""

    input: float
    cached: float
    written: float
    output: float

    def usd(self, usage: Usage, tier: str | None = None) -> float:
        """What `usage` costs. Of the tiers only 'batch' matters: the preset states the price."""
        fresh = usage.input - usage.cached - usage.written
        parts = (fresh, usage.cached, usage.written, usage.output)
        whole = sum(tokens * price for tokens, price in zip(parts, self, strict=True)) / MILLION
        return whole * BATCH_SHARE if tier == "batch" else whole


FREE = Price(0.0, 0.0, 0.0, 0.0)
FREE_ENDING = ":free"
"""What routers end the names of models with that cost nothing, e.g. OpenRouter."""
_PRIVATE_ENDINGS = (
    ".local", ".localhost", ".internal", ".lan", ".home", ".home.arpa", ".localdomain", ".intranet", ".corp",
    ".private", ".svc", ".ts.net", ".test",
)  # fmt: skip


def price_of(model: str, provider: str = "openai", override: Price | None = None) -> Usd:
    """A function from usage and served tier to USD.

    `provider` is a name ('openai', 'llama_cpp') or the server's address. `override` is `teacher.price`,
    and beats everything: a local server may well forward to one that sends bills. Raises ConfigError.
    """
    if override is not None:
        return override.usd
    if provider in LOCAL_PROVIDERS or ("://" in provider and is_local(provider)) or model.endswith(FREE_ENDING):
        return FREE.usd

    def usd(usage: Usage, tier: str | None = None) -> float:
        share = BATCH_SHARE if tier == "batch" else 1.0  # the table would ignore a tier it does not know
        ordinary = tier in ORDINARY_TIERS or tier == "batch"
        context = {} if ordinary else {"service_tier": str(tier)}
        return share * float(_calculated(model, provider, usage, context).total_price)

    try:
        price = _calculated(model, provider, Usage(), {}).model_price
    except LookupError:
        price = None
    if price is None or price.input_mtok is None or price.output_mtok is None:
        raise ConfigError(
            [
                f"the price of {model} at {provider} is not known, so no budget can hold; say it in USD per million "
                "tokens, e.g. teacher.price: {input: 0.25, output: 2.0} (and cached, if cached input costs less)"
            ]
        )
    return usd


def window_of(model: str, provider: str = "openai") -> int | None:
    """The model's context window in tokens; None where the table does not say, and for every local server."""
    if provider in LOCAL_PROVIDERS or ("://" in provider and is_local(provider)):
        return None
    from genai_prices.data_snapshot import get_snapshot

    name, address = (None, provider) if "://" in provider else (provider, None)
    try:
        window: int | None = get_snapshot().find_provider_model(model, None, name, address)[1].context_window
    except LookupError:
        return None
    return window


def is_local(address: str) -> bool:
    """True for an address on this machine or in a private network: no bill comes from there."""
    host = (urlsplit(address).hostname or "").rstrip(".").partition("%")[0]
    try:
        number = ipaddress.ip_address(host)
    except ValueError:
        return "." not in host or host.endswith(_PRIVATE_ENDINGS)
    return number.is_private or number in _SHARED


def _calculated(model: str, provider: str, usage: Usage, context: dict[str, str]) -> Any:
    import genai_prices

    tokens = genai_prices.Usage(
        input_tokens=usage.input,
        cache_read_tokens=usage.cached,
        cache_write_tokens=usage.written,
        output_tokens=usage.output,
    )
    if "://" in provider:
        return genai_prices.calc_price(tokens, model, provider_api_url=provider, price_context=context)
    return genai_prices.calc_price(tokens, model, provider_id=provider, price_context=context)
