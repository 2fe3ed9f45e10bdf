"""
Which settings fit a base and the rows at hand, where the preset leaves them out.

Three things decide whether a short LoRA training teaches a manner: enough optimizer steps, a rate that fits the size of
the base, and all linear layers. Seventy rows in batches of eight for two epochs are 18 steps, and left a real base of
135 million parameters worse than it was; batches of four for three epochs at a rate of 1e-3 taught it form and voice.
The rate is about ten times that of full tuning and falls with the size: 1e-3 at 135 million parameters, 5e-4 at one
billion, 2.5e-4 at eight. A long run needs less of it than a short one.
"""

from typing import NamedTuple

TINY_PARAMETERS = 20_000_000
"""Below this it is a base of the scratch kind, which knows nothing and is taught a language first."""
BILLION_RATE, SMALLER_BY = 5e-4, 1 / 3
LEAST_RATE, MOST_RATE = 1e-4, 1e-3
BATCH, LARGE_BATCH, LARGE_FROM_ROWS = 4, 8, 4_000
SHORT_STEPS, LONG_STEPS = 300, 1_500


class Suggestion(NamedTuple):
    """Options by name, and why these."""

    options: dict[str, float | int]
    reason: str


def suggest(parameters: int, rows: int) -> Suggestion:
    """What a training takes for a base of `parameters` weights and `rows` train rows, as far as nothing else is set."""
    if parameters < TINY_PARAMETERS:
        options: dict[str, float | int] = {"learning_rate": 2e-3, "epochs": 6, "batch_size": BATCH, "tolerance": 0.1}
        options |= {"evaluations_per_epoch": 1, "patience": 8}
    else:
        batch = LARGE_BATCH if rows >= LARGE_FROM_ROWS else BATCH
        epochs = 5 if rows < 40 else 3 if rows < 1_500 else 2
        steps = max(1, rows * epochs // batch)
        rate = BILLION_RATE * (1e9 / parameters) ** SMALLER_BY
        rate *= 1.0 if steps <= SHORT_STEPS else 0.7 if steps <= LONG_STEPS else 0.5
        rate = float(f"{min(MOST_RATE, max(LEAST_RATE, rate)):.2g}")
        options = {"learning_rate": rate, "epochs": epochs, "batch_size": batch}
        options |= {"evaluations_per_epoch": 2, "patience": 3}
    options |= {"rank": 16, "alpha": 32, "gradient_accumulation_steps": 1}
    return Suggestion(options, f"a base of {_million(parameters)} parameters and {rows} train rows")


def _million(parameters: int) -> str:
    if parameters >= 1_000_000_000:
        return f"{parameters / 1e9:.1f} billion"
    return f"{parameters / 1e6:.0f} million" if parameters >= 1_000_000 else f"{parameters:,}"
