"""Recognizes whether the processor computes fast in bf16."""

import multiprocessing
import os
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import pytest

from resnet_degradation.system.process import SPIN_COUNT, limit_openmp_spinning
from resnet_degradation.system.processor import has_bf16_instructions, precision_note
from resnet_degradation.system.worker import init_pool_worker


@pytest.mark.parametrize(
    ("cpuinfo", "expected"),
    [
        ("model name\t: AMD EPYC\nflags\t\t: fpu avx512f avx512_bf16\n", True),
        ("flags\t\t: fpu amx_bf16 amx_tile\n", True),
        ("flags\t\t: fpu avx2 avx512f\n", False),
        ("processor\t: 0\nFeatures\t: fp asimd bf16 i8mm\n", True),
        ("Features\t: fp asimd\n", False),
        ("bogomips\t: 1\n", None),
    ],
)
def test_bf16_instructions_are_found_on_x86_and_arm(
    cpuinfo: str, expected: bool | None, tmp_path: Path
) -> None:
    file = tmp_path / "cpuinfo"
    file.write_text(cpuinfo, "utf-8")
    assert has_bf16_instructions(file) is expected


def test_other_systems_do_not_say(tmp_path: Path) -> None:
    assert has_bf16_instructions(tmp_path / "nothing") is None


def test_only_an_unsuitable_precision_has_a_note() -> None:
    assert str(precision_note("tf32", None)).startswith(
        "warning: runtime.precision=tf32 needs a GPU"
    )
    assert str(precision_note("fp32", True)).startswith("hint: runtime.precision=bf16")
    assert str(precision_note("bf16", False)).startswith("warning: this processor has no bf16")
    for precision, has_bf16 in [("fp32", False), ("bf16", True), ("fp32", None), ("bf16", None)]:
        assert precision_note(precision, has_bf16) is None


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({}, SPIN_COUNT),
        ({"GOMP_SPINCOUNT": "7"}, "7"),
        ({"OMP_WAIT_POLICY": "active"}, None),
    ],
)
def test_idle_threads_sleep_early_unless_the_user_says_otherwise(
    given: dict[str, str], expected: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "environ", dict(given))
    limit_openmp_spinning()
    assert os.environ.get("GOMP_SPINCOUNT") == expected


def test_so_they_do_in_a_worker_process_which_sets_it_before_torch_is_loaded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    loaded = "import os\nspin = os.environ.get('GOMP_SPINCOUNT')\n"
    (tmp_path / "torch.py").write_text(f"{loaded}class cuda:\n    device_count = lambda: 0\n")
    monkeypatch.syspath_prepend(tmp_path)
    for name in ("GOMP_SPINCOUNT", "OMP_WAIT_POLICY"):
        monkeypatch.delenv(name, raising=False)
    spawn = multiprocessing.get_context("spawn")
    slots = spawn.SimpleQueue()
    slots.put(0)
    with ProcessPoolExecutor(1, spawn, init_pool_worker, (slots,)) as process:
        assert process.submit(eval, "__import__('torch').spin").result() == SPIN_COUNT
