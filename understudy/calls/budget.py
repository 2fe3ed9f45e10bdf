"""The most a channel may cost, in words. The sums and the reservations are in the ledger of calls."""

ROUNDING_USD = 1e-9


def used_up(max_usd: float, spent: float, worst_usd: float) -> str:
    """Why no call is made any more, and how to continue."""
    enough = max(2 * max_usd, spent + 2 * worst_usd)
    return (
        f"the budget of {dollars(max_usd)} does not cover another call: {dollars(spent)} spent, the next could cost "
        f"{dollars(worst_usd)}; finished work is kept, continue with --set teacher.max_usd={enough:.2f}"
    )


def dollars(usd: float) -> str:
    """`usd` for people, with cents, or finer below a dollar."""
    return f"${usd:.2f}" if usd == 0 or usd >= 1 else f"${usd:.4f}"
