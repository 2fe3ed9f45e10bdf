"""
This program plants one fault at a time and reports which test catches it.

A fault replaces one snippet of one file by wrong code; faults.yaml lists them. It is planted in a copy of the checkout,
never in the checkout itself, and only the tests that it names are run there. `python -m tests.faults` plants all of
them, `python -m tests.faults budget merge` those with one of these words in their name.
"""

import ast
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import yaml
from pydantic import BaseModel, ConfigDict, Field

ROOT = Path(__file__).resolve().parents[2]
LONGEST_SECONDS = 300
"""A run of tests with a fault that takes longer is killed: the fault made something wait forever."""
NOT_CAUGHT = "NOT CAUGHT"
_FAILED = re.compile(r"^(?:FAILED|ERROR) (.+?)(?: - .*)?$", re.MULTILINE)


class Fault(BaseModel):
    """A snippet of one file, the wrong code in its place, and the tests that must fail with it."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    name: str
    file: str
    before: str = Field(min_length=1)
    after: str
    tests: list[str] = Field(min_length=1)

    def planted(self) -> str:
        """The text of the file with the fault in it. Raises ValueError when it cannot be planted."""
        text = (ROOT / self.file).read_text(encoding="utf-8")
        if (count := text.count(self.before)) != 1:
            raise ValueError(f"{self.name!r}: the snippet occurs {count} times in {self.file}, it must occur once")
        changed = text.replace(self.before, self.after)
        try:
            same = self.file.endswith(".py") and ast.dump(ast.parse(changed)) == ast.dump(ast.parse(text))
        except SyntaxError as error:
            raise ValueError(f"{self.name!r}: {self.file} is not valid Python with it: {error}") from None
        if same:
            raise ValueError(f"{self.name!r}: the fault changes nothing in {self.file}")
        return changed


class Outcome(NamedTuple):
    """How a run of tests ended; the first failure is None when all of them passed."""

    status: int
    first_failure: str | None
    seconds: float
    output: str

    @property
    def verdict(self) -> str:
        """Only a test that fails catches a fault, a module that cannot be imported does not."""
        if self.status == 1 and self.first_failure:
            return f"caught by {self.first_failure}"
        return NOT_CAUGHT if self.status == 0 else f"{NOT_CAUGHT}: pytest ended with status {self.status}"


@contextmanager
def copied_checkout() -> Iterator[Path]:
    """A copy of the checkout that imports itself, deleted afterwards."""
    shared_memory = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None
    with tempfile.TemporaryDirectory(prefix="faults-", dir=os.environ.get("TMPDIR") or shared_memory) as scratch:
        copy = Path(scratch) / "checkout"
        names = subprocess.check_output(["git", "ls-files", "-coz", "--exclude-standard"], cwd=ROOT, text=True)
        for name in filter(None, names.split("\0")):
            if (ROOT / name).is_file():
                (copy / name).parent.mkdir(parents=True, exist_ok=True)
                shutil.copy2(ROOT / name, copy / name)
        for package in ("flows", "tasks", "deployments"):  # an installation would map these to the checkout itself
            (copy / "understudy" / package).symlink_to(copy / package)
        yield copy


def outcome(tests: Sequence[str], fault: Fault | None = None) -> Outcome:
    """The outcome of the named tests in a copy of the checkout, with the fault when there is one."""
    with copied_checkout() as copy:
        start = time.monotonic()
        if fault:
            (copy / fault.file).write_text(fault.planted(), encoding="utf-8")
        command = [sys.executable, "-m", "pytest", "-x", "-q", "-rfE", "--basetemp", str(copy.parent / "tmp"), *tests]
        environment = os.environ | {"PYTHONPATH": str(copy), "PYTHONDONTWRITEBYTECODE": "1", "COLUMNS": "200"}
        output = copy.parent / "output"
        with output.open("w", encoding="utf-8") as file:
            process = subprocess.Popen(command, cwd=copy, env=environment, stdout=file, stderr=subprocess.STDOUT)
            try:
                status = process.wait(LONGEST_SECONDS if fault else None)
            except subprocess.TimeoutExpired:
                process.kill()
                status = process.wait()
        text = output.read_text(encoding="utf-8", errors="replace")
    failures = _FAILED.findall(text)
    return Outcome(status, failures[0] if failures else None, time.monotonic() - start, text)


def main(words: Sequence[str]) -> int:
    """Plant all faults with one of the words in their name; the exit status is 0 when every one is caught."""
    entries = yaml.safe_load((Path(__file__).parent / "faults.yaml").read_text(encoding="utf-8"))
    faults = [Fault.model_validate(entry) for entry in entries]
    chosen = [fault for fault in faults if not words or any(word in fault.name for word in words)]
    start = time.monotonic()
    try:
        for fault in chosen:
            fault.planted()
    except (OSError, ValueError) as error:
        print(error, file=sys.stderr)
        return 2
    unchanged = outcome(sorted({test for fault in chosen for test in fault.tests}))
    if unchanged.status != 0:
        print(f"{unchanged.output[-5000:]}\nwithout any fault: status {unchanged.status}", file=sys.stderr)
        return 2
    print(f"the tests pass without any fault ({unchanged.seconds:.0f} s)", flush=True)
    verdicts = []
    for number, fault in enumerate(chosen, 1):
        result = outcome(fault.tests, fault)
        verdicts.append(result.verdict)
        print(f"{number}/{len(chosen)} {fault.name}: {result.verdict} ({result.seconds:.0f} s)", flush=True)
    missed = sum(verdict.startswith(NOT_CAUGHT) for verdict in verdicts)
    print(f"{len(verdicts) - missed} of {len(verdicts)} faults are caught, in {time.monotonic() - start:.0f} s")
    return 1 if missed else 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
