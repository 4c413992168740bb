"""The GitHub workflows are valid, and run the same tests as `make test-fast`."""

import re
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[2]
if not (ROOT / ".github").is_dir():
    pytest.skip("a source distribution has no workflows", allow_module_level=True)
WORKFLOWS = sorted((ROOT / ".github/workflows").glob("*.yml"))


@pytest.mark.parametrize("file", WORKFLOWS, ids=lambda file: file.name)
def test_every_job_has_a_runner_and_steps_that_do_something(file: Path) -> None:
    jobs = yaml.safe_load(file.read_text("utf-8"))["jobs"]
    assert jobs
    for job in jobs.values():
        assert job["runs-on"]
        assert job["steps"]
        assert all(("uses" in step) != ("run" in step) for step in job["steps"])


def test_windows_runs_the_tests_of_make_test_fast() -> None:
    fast = re.search(r"^FAST := (.*)$", (ROOT / "Makefile").read_text("utf-8"), re.MULTILINE)
    assert fast is not None
    text = (ROOT / ".github/workflows/portability.yml").read_text("utf-8")
    assert f'-m "{fast[1]}"' in text
