"""The measurements of `make bench`, with tiny sizes."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
import textbook
import torch
from growth import SETTINGS, relative, tick_labels
from operations import GROUPS, find_group, steps
from torch.profiler import ProfilerActivity, profile

from resnet_degradation.nets.resnet import ResNet

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize("residual", [True, False])
def test_the_textbook_net_computes_the_same_function(residual: bool) -> None:
    ours = ResNet(20, residual, family="cifar", width=0.5)
    theirs = textbook.ResNet(20, residual, 0.5, num_classes=10)
    theirs.load_state_dict(ours.state_dict())
    images = torch.randn(4, 3, 16, 16)
    torch.testing.assert_close(theirs(images), ours(images))


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_operations_of_a_step_belong_to_their_groups(precision: str) -> None:
    step = steps(precision, batch_size=2)
    with profile(activities=[ProfilerActivity.CPU]) as profiled:
        next(step)
    found = {event.name: find_group(event) for event in profiled.events()}
    assert set(found.values()) == set(GROUPS)
    assert found["aten::native_batch_norm_backward"] == "batch normalization"
    assert found["aten::convolution_backward"] == "convolutions"
    assert found["aten::threshold_backward"] == "ReLU and addition"
    assert found["aten::_fused_sgd_"] == "optimizer"
    assert found["aten::nll_loss_backward"] == "loss"
    assert found["aten::index_select"] == "loading data"
    if precision == "bf16":
        assert found["ToCopyBackward0"] == "casts and copies"


def test_growth_is_relative_to_the_usual_net() -> None:
    width = SETTINGS[1]
    rows = [
        {
            "setting": "width",
            "value": value,
            "step_seconds": value,
            "peak_gb": 1 + value**2,
            "before_the_first_step_gb": 1.0,
            "multiply_adds": value**2,
            "batch_size": 128,
        }
        for value in width.values
    ]
    squares = pytest.approx([value**2 for value in width.values])
    assert relative(rows, width) == {
        "time": list(width.values),
        "memory": squares,
        "multiply-adds": squares,
    }
    assert tick_labels((20, 32, 44, 56)) == ["20", "32", "", "56"]


@pytest.mark.long
def test_a_short_profile_writes_its_numbers_and_its_table(tmp_path: Path) -> None:
    command = [sys.executable, ROOT / "scripts/bench", "--short", "--profile", "--output", tmp_path]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert {file.name for file in tmp_path.iterdir()} == {"profile.json", "profile.md"}
    results = json.loads((tmp_path / "profile.json").read_text("utf-8"))
    assert results["command"].startswith("make bench ARGS=")
    assert results["environment"]["hardware"]["num_cpus"] > 0
    table = (tmp_path / "profile.md").read_text("utf-8")
    assert table in done.stdout
    assert len({line.count("|") for line in table.splitlines()}) == 1
