"""The planted faults still fit the code: `python -m tests.faults` shows that a test catches each of them."""

from pathlib import Path

import yaml

from tests.faults.__main__ import Fault

ROOT = Path(__file__).resolve().parents[2]


def test_every_fault_can_be_planted_and_names_tests_that_exist() -> None:
    entries = yaml.safe_load((ROOT / "tests/faults/faults.yaml").read_text(encoding="utf-8"))
    listed = [Fault.model_validate(entry) for entry in entries]
    assert len(listed) >= 20 and all(fault.planted() for fault in listed)
    assert not [test for fault in listed for test in fault.tests if not (ROOT / test.partition("::")[0]).is_file()]
