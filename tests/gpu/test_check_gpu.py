"""The script of `make check-gpu`, with tiny sizes on the CPU."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch

SCRIPT = Path(__file__).parents[2] / "scripts" / "check_gpu.py"


@pytest.mark.long
def test_a_dry_run_measures_everything_and_writes_a_report(tmp_path: Path) -> None:
    command = [sys.executable, SCRIPT, "--dry-run", "--skip-tests", "--output", tmp_path / "check"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    results = json.loads((tmp_path / "check" / "results.json").read_text())
    assert results["failures"] == []
    assert results.get("skipped") is None
    assert len(results["images_per_second"]) == 3 * 3 + 2 * 2
    assert min(results["images_per_second"].values()) > 0
    assert results["curve"]["mean_difference_points"] < results["curve"]["bound"]
    assert results["memory"]["seconds_a_step"] > 0
    assert results["pipeline"]["images_per_second"] > 0
    report = (tmp_path / "check" / "report.md").read_text()
    assert "| ResNet-20 fp32, eager |" in report
    assert len(list((tmp_path / "check").iterdir())) <= 8


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device")
def test_without_a_gpu_it_says_so_in_one_line(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, SCRIPT], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.returncode == 3
    assert done.stderr.startswith("error: torch finds no CUDA device")
    assert len(done.stderr.splitlines()) == 1
    assert not list(tmp_path.iterdir())
