"""A place to copy to: a folder of this machine, and an S3 of it."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.scale import services


@pytest.fixture(scope="module")
def bucket() -> Iterator[str]:
    with services.s3():
        yield "s3://bucket"


@pytest.fixture(params=["file", "s3"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """A place of its own for each test."""
    if request.param == "file":
        return f"file://{tmp_path}/there"
    return f"{request.getfixturevalue('bucket')}/{tmp_path.name}"
