"""Runs on a CUDA device: `pytest -m gpu`, or `make check-gpu`. Skipped elsewhere."""

import re
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from support.commands import TINY, call, recorded
from support.studies import untimed_record
from support.training import Tiny, TrainRun, assert_equal_states, final_state, interrupt
from support.waiting import wait_until

from resnet_degradation.records.metrics import read_metrics
from resnet_degradation.records.summary import is_finished, read_final_errors
from resnet_degradation.training.step import NUM_WARM_UP_STEPS

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
    """Run a command of the package, also if the package is not installed."""
    code = f"from resnet_degradation.cli.commands import {name}; {name}()"
    return [sys.executable, "-c", code]


@pytest.mark.parametrize("precision", ["fp32", "tf32", "bf16", "fp16"])
@pytest.mark.parametrize("compiled", ["none", "graphs", "step"])
def test_a_net_learns_the_digits(
    tiny: Tiny, train_run: TrainRun, precision: str, compiled: str
) -> None:
    if (precision, compiled) == ("fp16", "step"):
        pytest.skip("a captured step does not scale the loss")
    config = tiny(*DIGITS, f"runtime.precision={precision}", f"runtime.compile={compiled}")
    errors = read_final_errors(train_run(config))
    assert errors.train_error < 25  # chance is 90
    assert errors.held_out_error() is not None


def test_the_first_losses_are_those_of_the_cpu(
    tiny: Tiny, train_run: TrainRun, tmp_path: Path
) -> None:
    rows = {}
    for device in ("cpu", "cuda"):
        config = tiny(f"runtime.device={device}", f"output_dir={tmp_path / device}")
        rows[device] = read_metrics(train_run(config))
    for here, there in zip(rows["cpu"], rows["cuda"], strict=True):
        assert here.train_loss == pytest.approx(there.train_loss, rel=0.02)


@pytest.mark.parametrize("compiled", ["none", "step"])
@pytest.mark.parametrize("after", [2, 8])  # before a step is captured, and after that
def test_an_interrupted_run_resumes_bit_for_bit(
    tiny: Tiny, train_run: TrainRun, tmp_path: Path, compiled: str, after: int
) -> None:
    compile_it = f"runtime.compile={compiled}"
    whole = train_run(tiny(compile_it, f"output_dir={tmp_path / 'whole'}"))
    cut = tiny(compile_it, f"output_dir={tmp_path / 'cut'}")
    interrupt(cut, after)
    resumed = train_run(cut)
    assert untimed_record(resumed) == untimed_record(whole)
    assert_equal_states(final_state(resumed), final_state(whole))


@pytest.mark.parametrize(
    "settings",
    [
        ("recipe.momentum=0",),
        ("runtime.precision=bf16",),
        ("runtime.checkpoint_activations=on",),
    ],
)
def test_a_captured_step_is_the_eager_step(
    tiny: Tiny, train_run: TrainRun, tmp_path: Path, settings: tuple[str, ...]
) -> None:
    # Rates that a float32 holds exactly, as a captured step reads them.
    exact = ("recipe.lr=0.0625", "recipe.gamma=0.5", *settings)
    eager = train_run(tiny(*exact, f"output_dir={tmp_path / 'eager'}"))
    captured = train_run(tiny(*exact, "runtime.compile=step", f"output_dir={tmp_path / 'step'}"))
    assert untimed_record(captured) == untimed_record(eager)
    assert_equal_states(final_state(captured), final_state(eager))


def test_a_step_is_captured_once_and_then_replayed(
    tiny: Tiny, train_run: TrainRun, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = {"graph": 0, "replay": 0}
    graph, replay = torch.cuda.graph, torch.cuda.CUDAGraph.replay

    def count_capture(*args: Any, **named: Any) -> Any:
        calls["graph"] += 1
        return graph(*args, **named)

    def count_replay(self: Any) -> None:
        calls["replay"] += 1
        replay(self)

    monkeypatch.setattr(torch.cuda, "graph", count_capture)
    monkeypatch.setattr(torch.cuda.CUDAGraph, "replay", count_replay)
    train_run(tiny("runtime.compile=step"))
    assert calls == {"graph": 1, "replay": 12 - NUM_WARM_UP_STEPS}


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
    large = ("data.image_size=256", "width=16", "recipe.batch_size=1400")
    off = "runtime.checkpoint_activations=off"
    done = call(tmp_path, *command("train"), *TINY, *large, off)
    assert done.returncode == 2, done.stderr
    line = done.stderr.splitlines()[-1]
    fitting = re.match(r"error: out of memory: recipe.batch_size=1400 does not .* (\d+) does", line)
    assert fitting, line
    assert 2 <= int(fitting[1]) <= 700
    assert "runtime.checkpoint_activations=on" in line
    assert "Traceback" not in done.stderr


def test_two_processes_train_one_run(tmp_path: Path) -> None:
    # NCCL does not accept two processes on one GPU; the message says what to set.
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
