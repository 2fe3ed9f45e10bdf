"""`python flows/main.py`: the same as `understudy run`, with this checkout as the default of --home."""

import sys
from pathlib import Path

from understudy.cli import main

if __name__ == "__main__":
    raise SystemExit(main(["run", *sys.argv[1:]], home=Path(__file__).resolve().parents[1]))
