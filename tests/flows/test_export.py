"""Laws of how the quantizations are started."""

import pytest

from understudy.graph import side_by_side

TYPES = ["Q8_0", "Q6_K", "Q5_K_M", "Q4_K_M", "Q2_K"]


@pytest.mark.parametrize(
    ("file_bytes", "free_bytes", "sizes"),
    [
        (10, 100, [5]),
        (10, 50, [5]),
        (10, 49, [4, 1]),
        (10, 25, [2, 2, 1]),
        (10, 9, [1, 1, 1, 1, 1]),
        (10, 0, [1, 1, 1, 1, 1]),
        (0, 0, [1, 1, 1, 1, 1]),
    ],
)
def test_only_as_many_quantizations_run_at_once_as_have_room(
    file_bytes: int, free_bytes: int, sizes: list[int]
) -> None:
    groups = side_by_side(TYPES, file_bytes, free_bytes)
    assert [len(group) for group in groups] == sizes
    assert [name for group in groups for name in group] == TYPES


def test_no_type_makes_no_group() -> None:
    assert side_by_side([], 10, 100) == []
