"""The script of `make check-gpu`, with tiny sizes and on the CPU."""

import json
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from check_gpu import with_precision

from resnet_degradation.training.torch_settings import restore_settings

SCRIPT = Path(__file__).parents[2] / "scripts" / "check_gpu.py"


def test_variants_that_take_turns_keep_their_settings() -> None:
    cudnn = torch.backends.cudnn
    seen: dict[str, list[tuple[bool, bool]]] = {"fp32": [], "tf32": []}

    def steps(precision: str) -> Iterator[None]:
        while True:
            seen[precision].append((cudnn.allow_tf32, cudnn.deterministic))
            yield

    with restore_settings():
        ours = with_precision("fp32", steps("fp32"))
        variants = [ours, with_precision("tf32", steps("tf32"), deterministic=False)]
        for _ in range(2):
            for variant in variants:
                next(variant)
    assert seen == {"fp32": 2 * [(False, True)], "tf32": 2 * [(True, False)]}


@pytest.mark.long
@pytest.mark.slow
def test_a_dry_run_measures_everything_and_writes_a_report(tmp_path: Path) -> None:
    command = [sys.executable, SCRIPT, "--dry-run", "--output", tmp_path / "check"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    results = json.loads((tmp_path / "check" / "results.json").read_text())
    assert results["failures"] == []
    assert results.get("skipped") is None
    if not torch.cuda.is_available():
        assert re.match(r"\d+ skipped.*; 1 skipped", results["tests"])
    assert len(results["images_per_second"]) == 3 * 3 + 2 * 2
    assert min(results["images_per_second"].values()) > 0
    assert results["curve"]["mean_difference_points"] < results["curve"]["bound"]
    assert results["memory"]["seconds_a_step"] > 0
    assert results["pipeline"]["images_per_second"] > 0
    report = (tmp_path / "check" / "report.md").read_text()
    assert "| ResNet-20 fp32, eager |" in report
    assert "differ by 0.0 points" in report
    assert "Not measured" not in report
    figures = {file.name for file in (tmp_path / "check").glob("*.png")}
    assert figures == {"speeds.png", "curve.png"}


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device")
def test_without_a_gpu_it_says_so_in_one_line(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, SCRIPT], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.returncode == 3
    assert done.stderr.startswith("error: torch finds no CUDA device")
    assert len(done.stderr.splitlines()) == 1
    assert not list(tmp_path.iterdir())
