"""`make bench` runs every group, `make bench ONLY=run` one: a line per figure, nothing else on standard output.

A group is a module here with `figures()`, which yields Figures; one whose name begins with an underscore is part of
another. The last line counts the figures.
"""

import importlib
import sys
from pathlib import Path

from benchmarks.figures import Figure


def main(only: list[str]) -> int:
    """Print the figures of the groups asked for."""
    groups = sorted(
        f.stem for f in Path(__file__).parent.glob("*.py") if f.stem != "figures" and not f.stem.startswith("_")
    )
    unknown = [name for name in only if name not in groups]
    if unknown:
        print(f"no group {unknown[0]!r}; choose from {', '.join(groups)}", file=sys.stderr)
        return 2
    figures: list[Figure] = []
    for group in only or groups:
        for figure in importlib.import_module(f"benchmarks.{group}").figures():
            print(f"{group}.{figure.line()}", flush=True)
            figures.append(figure)
    verdicts = [figure.verdict for figure in figures]
    print(
        f"{len(figures)} figures: {verdicts.count('ok')} ok, {verdicts.count('missed')} missed, "
        f"{verdicts.count('info')} info"
    )
    return 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
