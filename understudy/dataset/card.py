"""The page that travels with a dataset: what it is made of and who permits its use; shared with a model's card."""

from understudy.config import Config

PERMISSION = {
    "owned": "The talks are the publisher's own.",
    "permitted": "The holder of the rights to the talks has permitted this use.",
    "public_domain": "The talks are in the public domain, according to the publisher.",
    "own_risk": "**No permission was given for this use of the talks; it was made at its maker's own risk. "
    "Do not pass it on.**",
    None: "**Whether this use of the talks is permitted is not stated. Do not pass it on.**",
}
MAY_BE_GIVEN_ON = ("owned", "permitted", "public_domain")
"""With which permissions what is made of the talks may be given to others."""
NOT_STATED = "not stated"
LABEL = (
    "Everything the model says is written by AI in the style of the talks. It is not by the person who gave them, it "
    "is not checked by that person, and it must not be passed off as that person's words. Tuning teaches manner and "
    "format, not facts: do not rely on it for facts."
)


def dataset(config: Config, summary: str) -> str:
    """The README of a dataset; `summary` is its markdown tables."""
    return "\n\n".join(
        [
            f"# Questions and answers from the talks of {config.name}",
            summary,
            "[Every pair, talk by talk](pairs.md)",
            "![Words per answer](description/lengths.png)\n\n![What of each talk is in kept pairs]"
            "(description/coverage.png)",
            "## Permission",
            f"`permission: {config.permission or NOT_STATED}`. {PERMISSION[config.permission]} A transcript "
            "belongs to its speaker or channel; the answers here were written from it by a program.",
            "## How to use it",
            LABEL + "\n",
        ]
    )
