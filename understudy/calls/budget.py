"""The most a channel may cost, in words. The sums and the reservations are in the ledger of calls."""

from typing import NamedTuple

ROUNDING_USD = 1e-9


class Limit(NamedTuple):
    """The most that the calls of one ledger may cost now, and the option that says so."""

    usd: float
    option: str
    elsewhere_usd: float = 0.0
    """What other models' calls, which the option covers as well, have cost."""


def used_up(limit: Limit, spent: float, worst_usd: float) -> str:
    """Why no call is made any more, and how to continue."""
    most, all_spent = limit.usd + limit.elsewhere_usd, spent + limit.elsewhere_usd
    enough = max(2 * most, all_spent + 2 * worst_usd)
    return (
        f"the budget of {dollars(most)} does not cover another call: {dollars(all_spent)} spent, the next could cost "
        f"{dollars(worst_usd)}; finished work is kept, continue with --set {limit.option}={enough:.2f}"
    )


def dollars(usd: float) -> str:
    """`usd` for people, with cents, or finer below a dollar."""
    return f"${usd:.2f}" if usd == 0 or usd >= 1 else f"${usd:.4f}"
