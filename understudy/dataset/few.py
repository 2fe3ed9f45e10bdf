"""What can and cannot be known of a model that few talks made: said before the run, not after it."""

FEWEST, ENOUGH = 3, 10
"""Talks from which on one can be kept away from training, and from which on the numbers mean something."""


def warning(talks: int) -> str | None:
    """One sentence to say at the start; None where there are enough talks."""
    if talks >= ENOUGH or not talks:
        return None
    count = f"{talks} talk{'s' * (talks != 1)}"
    if talks < FEWEST:
        return (
            f"{count}: a model can be trained, but how good it is cannot be known, because no whole talk can be kept "
            f"away from training to ask about; from {FEWEST} talks on one can, and from about {ENOUGH} the numbers tell"
        )
    return (
        f"{count}: a few can be kept away from training, so answers can be compared by reading them, but for most "
        f"numbers they are too few to tell better from worse; about {ENOUGH} talks are enough"
    )
