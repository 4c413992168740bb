"""A plan times the runs with their own settings. No test depends on the speed of the machine."""

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from rich.console import Console
from support.studies import TINY, study_of

from resnet_degradation.config.schema import Config
from resnet_degradation.studies import cost as cost_module
from resnet_degradation.studies.cost import (
    TIMED_STEPS,
    image_cost,
    plan_costs,
    step_timer,
    time_steps,
    timing_config,
)
from resnet_degradation.studies.definition import Study
from resnet_degradation.studies.plan import print_plan
from resnet_degradation.system import process as processes
from resnet_degradation.system.errors import ConfigError

# A block that records how it is called.
PROBE = """
import os, pathlib, torch
from resnet_degradation.nets.blocks import BasicBlock

class Probe(BasicBlock):
    def forward(self, features):
        facts = len(features), torch.get_num_threads(), torch.is_autocast_enabled("cpu")
        if features.requires_grad:  # it is a training step
            with pathlib.Path("probed.txt").open("a") as stream:
                print(os.getpid(), *facts, file=stream)
        return super().forward(features)
"""


class Probed(NamedTuple):
    process: str
    batch_size: int
    num_threads: int
    autocast: bool


def planned(folder: Path, *overrides: str) -> tuple[str, set[Probed]]:
    """The output of `resnet-study plan=true`, and the recorded calls of the block."""
    (folder / "probe.py").write_text(PROBE)
    nets = "study.nets=[{depth: 8, residual: true, block: 'probe:Probe'}]"
    done = subprocess.run(
        [
            *(Path(sys.executable).parent / "resnet-study", *TINY[1:], nets, "seeds=[0,1]"),
            *("plan=true", *overrides),
        ],
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
        env=os.environ | {"COLUMNS": "100", "OMP_NUM_THREADS": "1"},
    )
    assert done.returncode == 0, done.stderr
    assert not (folder / "outputs").exists()
    lines = [line.split() for line in (folder / "probed.txt").read_text().splitlines()]
    return " ".join(done.stdout.split()), {
        Probed(process, int(batch), int(threads), autocast == "True")
        for process, batch, threads, autocast in lines
    }


@pytest.mark.long
def test_jobs_are_timed_together_each_in_its_precision_and_with_its_threads(tmp_path: Path) -> None:
    text, probed = planned(tmp_path, "jobs=2", "runtime.precision=bf16")
    share = max(1, processes.num_cpus() // 2)
    assert len({probe.process for probe in probed}) == 2
    assert {probe[1:] for probe in probed} == {(32, share, True)}
    assert f"2 runs at once, each on {processes.describe_threads(share)}, bf16" in text


@pytest.mark.long
def test_each_device_is_timed_on_its_share_of_a_batch(tmp_path: Path) -> None:
    text, probed = planned(tmp_path, "runtime.devices=2", "runtime.num_threads=1")
    assert len({probe.process for probe in probed}) == 2
    assert {probe[1:] for probe in probed} == {(16, 1, False)}
    assert "2 processes, each with its share of a batch on cpu, 1 thread, fp32" in text
    assert "Not counted: the time that processes take to average their gradients" in text


Timed = Callable[..., list[tuple[int, Config]]]


@pytest.fixture
def timed(monkeypatch: pytest.MonkeyPatch) -> Timed:
    """A function that sets the seconds of steps; it returns the list of the timed samples."""

    def take(*seconds: float) -> list[tuple[int, Config]]:
        samples: list[tuple[int, Config]] = []

        @contextmanager
        def fixed_timer(num_at_once: int) -> Iterator[Any]:
            def time_steps(sample: Config, num_classes: int) -> list[float]:
                samples.append((num_at_once, sample))
                return list(seconds) * num_at_once

            yield time_steps

        monkeypatch.setattr(cost_module, "step_timer", fixed_timer)
        return samples

    return take


def printed(study: Study, capsys: pytest.CaptureFixture[str], jobs: int = 1) -> str:
    print_plan(study, Console(width=80), jobs)
    return " ".join(capsys.readouterr().out.split())


def test_the_median_step_counts(tmp_path: Path, timed: Timed) -> None:
    timed(0.01, 0.01, 0.01, 0.03, 0.5)
    costs, (measured,) = plan_costs(study_of(tmp_path))
    for cost in costs:
        seconds = cost.multiply_adds / (3 * 32 * image_cost(cost.run)) * 0.01
        assert cost.seconds == pytest.approx((seconds, seconds, 50 * seconds))
    assert "ResNet-8-width0.5 (0.01 s for 32 images)" in measured


def test_steps_that_disagree_give_a_range_and_others_none(
    tmp_path: Path, timed: Timed, capsys: pytest.CaptureFixture[str]
) -> None:
    study = study_of(tmp_path, "recipe.iterations=6000", "runtime.eval_every=6000")
    timed(0.10, 0.10, 0.11, 0.11, 0.11)
    text = printed(study, capsys)
    assert "(0.11 s for 32 images)" in text
    assert "fastest step" not in text
    timed(0.10, 0.10, 0.11, 0.11, 0.20)
    text = printed(study, capsys)
    assert "at the speed of the fastest and of the slowest step" in text
    assert "(40 min to 80 min)" in text


def test_a_busy_machine_is_mentioned(
    tmp_path: Path,
    timed: Timed,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    timed(1.0)
    monkeypatch.setattr(processes, "num_cpus", lambda: 4)
    for load, busy in ((9.25, True), (1.0, False)):
        monkeypatch.setattr(os, "getloadavg", lambda load=load: (load, 0.0, 0.0))
        text = printed(study_of(tmp_path), capsys)
        assert ("Other work uses the cores (load 9.2 on 4)" in text) is busy


def test_processes_are_as_many_as_the_runs_that_are_left(tmp_path: Path, timed: Timed) -> None:
    samples = timed(1.0)
    costs, _ = plan_costs(study_of(tmp_path), jobs=8)
    assert {number for number, _ in samples} == {len(costs)}
    samples.clear()
    plan_costs(study_of(tmp_path, "runtime.devices=4"))
    assert {(number, sample.recipe.batch_size) for number, sample in samples} == {(4, 8)}


def test_a_sample_keeps_the_settings_that_cost_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    given = ("runtime.precision=bf16", "runtime.compile=none", "runtime.num_threads=3")
    (run, *_) = study_of(tmp_path, *given, "recipe.augmentation=pad-crop").runs
    sample = timing_config(run, num_concurrent=2)
    assert (sample.runtime.precision, sample.runtime.compile) == ("bf16", "none")
    assert sample.runtime.num_threads == 3
    assert sample.runtime.checkpoint_activations == "off"
    assert sample.recipe.batch_size == 32
    # A batch that is too large for timing is reduced, but with the full batch's checkpointing.
    monkeypatch.setattr(
        cost_module,
        "uses_activation_checkpointing",
        lambda config, *_: config.recipe.batch_size == 32,
    )
    monkeypatch.setitem(cost_module.MAX_MULTIPLY_ADDS, "cpu", 3 * 5 * image_cost(run))
    sample = timing_config(run, num_concurrent=1)
    assert (sample.recipe.batch_size, sample.runtime.checkpoint_activations) == (5, "on")


@pytest.mark.parametrize(
    "overrides",
    [
        ("recipe.schedule=plateau", "recipe.plateau_every=1ep", "recipe.warmup=always"),
        ("recipe.milestones=[2,3]", "runtime.log_every=4", "runtime.signals_every=2"),
        ("runtime.checkpoint_activations=on", "data.mean=channel", "data.std=[0.5,0.5,0.5]"),
    ],
)
def test_a_sample_is_timed_whatever_the_recipe_and_leaves_nothing(
    tmp_path: Path, overrides: tuple[str, ...]
) -> None:
    (run, *_) = study_of(tmp_path, *overrides).runs
    sample = timing_config(run, num_concurrent=1)
    seconds = time_steps(sample, num_classes=3)
    assert len(seconds) == TIMED_STEPS
    assert all(second > 0 for second in seconds)
    assert not list(tmp_path.iterdir())


@pytest.mark.long
def test_a_failure_in_one_process_ends_the_others(tmp_path: Path) -> None:
    (run, *_) = study_of(tmp_path, "runtime.device=cpu").runs
    sample = timing_config(run, num_concurrent=2)
    with step_timer(2) as time_together, pytest.raises(ConfigError, match="x is not a duration"):
        time_together(replace(sample, recipe=replace(sample.recipe, milestones=["x"])), 3)


def test_a_net_that_is_not_measured_is_as_fast_as_the_last_that_was(
    tmp_path: Path, timed: Timed, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cost_module, "TIMING_BUDGET_SECONDS", 5.0)
    samples = timed(1.0, 1.0)
    costs, (measured,) = plan_costs(study_of(tmp_path))
    assert len(samples) == 3
    assert measured.endswith(", the others by multiply-adds")
    speeds = {round(cost.multiply_adds / cost.seconds[1]) for cost in costs}
    assert len(speeds) == 2
