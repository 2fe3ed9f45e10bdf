"""`python -m understudy`: the same as the command `understudy`."""

from understudy.cli import main

if __name__ == "__main__":
    raise SystemExit(main())
