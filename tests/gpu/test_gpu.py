"""Runs on a CUDA device: `pytest -m gpu`, or `make check-gpu`. Skipped elsewhere."""

import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from support.commands import TINY, call, recorded
from support.studies import untimed_record
from support.training import Tiny, TrainRun, interrupt
from support.waiting import wait_until

from resnet_degradation.records.checkpoint import load_checkpoint
from resnet_degradation.records.metrics import read_metrics
from resnet_degradation.records.summary import is_finished, read_final_errors

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device"),
]
DIGITS = (
    "recipe.iterations=150",
    "recipe.lr=0.05",
    "data.image_size=16",
    "width=1",
    "recipe.pad=2",
)


def command(name: str) -> list[str]:
    """A command of the package, which need not be installed."""
    code = f"from resnet_degradation.cli.commands import {name}; {name}()"
    return [sys.executable, "-c", code]


@pytest.fixture
def deterministic() -> Iterator[None]:
    """Use deterministic algorithms of cuDNN only."""
    before = torch.backends.cudnn.deterministic
    torch.backends.cudnn.deterministic = True
    yield
    torch.backends.cudnn.deterministic = before


@pytest.mark.parametrize("precision", ["fp32", "tf32", "bf16", "fp16"])
@pytest.mark.parametrize("compiled", ["none", "graphs"])
def test_a_net_learns_the_digits(
    tiny: Tiny, train_run: TrainRun, precision: str, compiled: str
) -> None:
    config = tiny(*DIGITS, f"runtime.precision={precision}", f"runtime.compile={compiled}")
    errors = read_final_errors(train_run(config))
    assert errors.train_error < 25  # chance is 90
    assert errors.held_out_error() is not None


def test_the_first_losses_are_those_of_the_cpu(tiny: Tiny, train_run: TrainRun) -> None:
    rows = {}
    for device in ("cpu", "cuda"):
        config = tiny(f"runtime.device={device}", f"output_dir=outputs-{device}")
        rows[device] = read_metrics(train_run(config))
    for here, there in zip(rows["cpu"], rows["cuda"], strict=True):
        assert here.train_loss == pytest.approx(there.train_loss, rel=0.02)


@pytest.mark.usefixtures("deterministic")
def test_an_interrupted_run_resumes_bit_for_bit(
    tiny: Tiny, train_run: TrainRun, tmp_path: Path
) -> None:
    whole = train_run(tiny(f"output_dir={tmp_path / 'whole'}"))
    cut = tiny(f"output_dir={tmp_path / 'cut'}")
    interrupt(cut, after=8)
    resumed = train_run(cut)
    assert untimed_record(resumed) == untimed_record(whole)
    weights = [load_checkpoint(folder) for folder in (whole, resumed)]
    assert weights[0] is not None
    assert weights[1] is not None
    for name, value in weights[0].parts["net"].items():
        assert torch.equal(value, weights[1].parts["net"][name]), name


@pytest.mark.parametrize("devices", [("cpu", "cuda"), ("cuda", "cpu")])
def test_a_checkpoint_is_continued_on_another_device(
    tiny: Tiny, train_run: TrainRun, devices: tuple[str, str]
) -> None:
    first, second = devices
    interrupt(tiny(f"runtime.device={first}"), after=8)
    with pytest.warns(UserWarning, match="the device"):
        folder = train_run(tiny(f"runtime.device={second}"))
    assert is_finished(folder)


def test_a_trained_net_is_evaluated_and_inspected(tmp_path: Path) -> None:
    done = call(tmp_path, *command("train"), *TINY)
    assert done.returncode == 0, done.stderr
    (folder,) = (path.parent for path in tmp_path.rglob("summary.json"))
    for name, *arguments in (("evaluate", "protocol=ten-crop"), ("inspect",)):
        done = call(tmp_path, *command(name), f"run={folder}", *arguments)
        assert done.returncode == 0, done.stderr


def test_sigterm_saves_and_the_same_command_resumes(tmp_path: Path) -> None:
    arguments = [*command("train"), *TINY, "recipe.iterations=4000", "runtime.log_every=10"]
    process = subprocess.Popen(arguments, cwd=tmp_path, stderr=subprocess.PIPE, text=True)
    wait_until(lambda: recorded(tmp_path))
    process.send_signal(signal.SIGTERM)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 128 + signal.SIGTERM, errors
    done = call(tmp_path, *arguments)
    assert done.returncode == 0, done.stderr
    assert "resumed after" in done.stdout


def test_out_of_memory_ends_in_one_line(tmp_path: Path) -> None:
    large = ("data.image_size=256", "width=64", "recipe.batch_size=1400")
    off = "runtime.checkpoint_activations=off"
    done = call(tmp_path, *command("train"), *TINY, *large, off)
    assert done.returncode == 2, done.stderr
    assert done.stderr.splitlines()[-1].startswith("error: out of memory: try a smaller recipe.b")
    assert "Traceback" not in done.stderr


def test_two_processes_train_one_run(tmp_path: Path) -> None:
    # With one GPU for both, NCCL refuses, and the message says what to set.
    done = call(tmp_path, *command("train"), *TINY, "runtime.devices=2")
    if torch.cuda.device_count() > 1:
        assert done.returncode == 0, done.stderr
    else:
        assert done.returncode == 2
        assert "there is 1 GPU here" in done.stderr
    done = call(tmp_path, *command("train"), *TINY, "runtime.devices=2", "runtime.device=cpu")
    assert done.returncode == 0, done.stderr


@pytest.mark.skipif(torch.cuda.device_count() > 1, reason="tests what one GPU does")
def test_two_processes_of_torchrun_share_one_gpu_or_say_why_not(tmp_path: Path) -> None:
    done = call(
        tmp_path,
        *(sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"),
        *("-m", "resnet_degradation.train"),
        *TINY,
    )
    assert done.returncode == 0 or "error: " in done.stderr
