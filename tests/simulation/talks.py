"""The talks of simulated channels: text that follows from a name."""

import hashlib
import string
from random import Random

NOUNS = (
    "kettle anchor basket candle dagger engine feather garden hammer island jacket ladder mirror needle orchard pepper "
    "quarry ribbon saddle timber urchin valley window yellow zipper bottle carpet donkey eagle forest glacier harbour"
).split()


def talk_text(name: str) -> str:
    """A talk of about 200 words with a word of its own, which follows from its name."""
    random = Random(name)
    own = random.sample(NOUNS, 12)
    sentences = []
    for at in range(24):
        words = [random.choice(own) for _ in range(7)]
        sentences.append(f"The {' '.join(words)} {token_of(name) if at % 8 == 0 else 'there'}.")
    return "\n\n".join(" ".join(sentences[at : at + 8]) for at in range(0, 24, 8)) + "\n"


def token_of(name: str) -> str:
    """A word that stands in this talk alone."""
    digest = hashlib.sha256(name.encode()).digest()
    return "xo" + "".join(string.ascii_lowercase[byte % 26] for byte in digest[:8])
