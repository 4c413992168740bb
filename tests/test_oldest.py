"""The lower bounds of the dependencies are the versions that `make test-oldest` tests."""

import re
from pathlib import Path

ROOT = Path(__file__).parents[1]


def release(version: str) -> list[int]:
    """The three numbers of a version; a missing last number is 0."""
    return [*map(int, version.split(".")), 0, 0][:3]


def test_the_oldest_versions_are_the_lower_bounds() -> None:
    project = (ROOT / "pyproject.toml").read_text("utf-8").partition("[tool.")[0]
    bounds = re.findall(r'"([a-z0-9-]+)>=([\d.]+)', project)
    lines = (ROOT / "tests/support/oldest.txt").read_text("utf-8").splitlines()
    pinned = [line.split("==") for line in lines if not line.startswith("#")]
    assert len(pinned) > 20
    assert {name: release(version) for name, version in pinned} == {
        name: release(version) for name, version in bounds
    }
