"""`python flows/main.py`: the same as `understudy run`."""

from understudy.cli.run import main

if __name__ == "__main__":
    raise SystemExit(main())
