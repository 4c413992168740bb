"""The commands at the command line: every mistake gives one line of error, and no data are lost."""

import csv
import logging
import os
import signal
import subprocess
import sys
import venv
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from rich.console import Console
from support.commands import BIN, TINY, TINY_STUDY, call, forked, run_folders
from support.waiting import wait_until

from resnet_degradation.config.schema import (
    Config,
    EvaluationConfig,
    InspectionConfig,
    StudyRunConfig,
    schema_fields,
)
from resnet_degradation.records.lock import run_lock
from resnet_degradation.system import process as processes
from resnet_degradation.training.memory import keep_freed_memory
from resnet_degradation.training.torch_settings import restore_settings


def resnet_train(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return forked(folder, "resnet-train", *arguments)


MISTAKES = [
    (["dept=20"], "there is no key dept: the nearest is depth"),
    (["recipe.iteration=3"], "there is no key recipe.iteration: the nearest is recipe.iterations"),
    (["lr=0.1"], "there is no key lr: type recipe.lr=0.1"),
    (
        ["--random-erasing", "5"],
        "unrecognized arguments: --random-erasing: settings are given as key=VALUE",
    ),
    (["--cfg", "net.yaml"], "invalid choice: 'net.yaml'"),
    (["depth=8", "--cfg", "job", "width=2"], "width=2: settings are given as key=VALUE, options "),
    (["digit"], "'digit' lacks a value: settings are given as key=VALUE, see --help"),
    (["+extra=1"], "there is no key extra"),
    (["+extra={}"], "there is no key extra"),
    (["+recipe.extra={}"], "there is no key recipe.extra"),
    (["+recipe.warmups=always"], "the nearest is recipe.warmup"),
    (
        ["depth=deep"],
        "depth: Value 'deep' of type 'str' could not be converted to Integer: "
        "it must be a whole number",
    ),
    (
        ["residual=maybe"],
        "residual: Value 'maybe' is not a valid bool (type str): use true or false",
    ),
    (["recipe.lr=fast"], "recipe.lr: Value 'fast' of type 'str' could not be converted to Float"),
    (["data=CIFAR10"], "there is no data=CIFAR10, the nearest is data=cifar10; valid: cifar10"),
    (["data=cifar"], "there is no data=cifar, the nearest is data=cifar10; valid: cifar10"),
    (["recipe=slow"], "there is no recipe=slow"),
    (["depth=21"], "there is no net with depth=21: the nearest is 20"),
    (["depth"], "'depth' is not a setting: type depth=VALUE"),
    (["depth=[1"], "[1"),
    (["depth=20,56"], "'depth=20,56' names several values: add -m to run each"),
    (["--depth", "20"], "--depth is not an option: type depth=20"),
    (["data=folder", "data.root=~/nowhere"], "/nowhere/train"),
    (["data=folder", "data.root=/nowhere"], "/nowhere/train"),
    (["data=imagenet", "depth=18", "data.root=/nowhere"], "/nowhere/train"),
    (["runtime.device=cuda"], "runtime.device=cuda, but torch finds no CUDA device"),
    (["recipe.milestones=[900]"], "recipe.milestones"),
    (["shortcut=X"], "choose A, B, C"),
    (["data=null"], "data"),
    (["data.root=${nope}", "data=folder"], "nope"),
    (["output_dir=/dev/null"], "/dev/null"),
    (["recipe.batch_size=100000000000"], "recipe.batch_size"),
    (["depth=34", "data=cifar10"], "there is no net with depth=34"),
]


@pytest.mark.parametrize(("arguments", "said"), MISTAKES, ids=lambda value: " ".join(value))
def test_a_mistake_gets_one_clear_line_and_leaves_nothing_behind(
    tmp_path: Path, arguments: list[str], said: str
) -> None:
    if arguments == ["runtime.device=cuda"] and torch.cuda.is_available():
        pytest.skip("there is a CUDA device here")
    done = resnet_train(tmp_path, *arguments)
    assert done.returncode == 2
    assert done.stdout == ""
    (line,) = done.stderr.splitlines()
    assert line.startswith("error: ")
    assert said in line
    assert not run_folders(tmp_path)


@pytest.mark.parametrize(
    ("environment", "said"),
    [
        (
            {"WORLD_SIZE": "2", "RANK": "0"},
            "error: the environment has WORLD_SIZE=2 RANK=0 and lacks MASTER_ADDR, MASTER_PORT, so "
            "2 processes cannot find each other: start them with torchrun, which sets all of "
            "these, or unset WORLD_SIZE RANK to run a single process",
        ),
        ({"WORLD_SIZE": "2", "RANK": "1"}, "error: rank 1: the environment has WORLD_SIZE=2 RANK"),
        ({"WORLD_SIZE": "2"}, "lacks RANK, MASTER_ADDR, MASTER_PORT, so"),
        ({"WORLD_SIZE": "2", "RANK": "0", "MASTER_ADDR": "localhost"}, "lacks MASTER_PORT, so"),
    ],
)
def test_processes_that_cannot_find_each_other_report_the_missing_variables(
    tmp_path: Path, environment: dict[str, str], said: str
) -> None:
    done = forked(tmp_path, "resnet-train", *TINY, **environment)
    assert done.returncode == 2
    (line,) = done.stderr.splitlines()
    assert said in line


@pytest.mark.parametrize("arguments", [("resnet-eval", "weights=x.pt"), ("resnet-study",)])
def test_commands_of_one_process_name_the_variables_that_speak_of_several(
    tmp_path: Path, arguments: tuple[str, ...]
) -> None:
    command, *settings = arguments
    done = forked(tmp_path, command, *settings, WORLD_SIZE="2", RANK="1")
    assert done.returncode == 2
    (line,) = done.stderr.splitlines()
    assert "(WORLD_SIZE=2 RANK=1)" in line


def test_a_run_loads_no_more_than_it_needs(tmp_path: Path) -> None:
    """Importing scikit-learn, only for its digits, would take a second."""
    code = (
        "import sys; sys.argv = ['resnet-train', *sys.argv[1:]]\n"
        "from resnet_degradation.cli.commands import train\n"
        "try:\n    train()\n"
        "finally:\n    print('loaded:', *{'torchvision', 'sklearn', 'matplotlib'} "
        "& set(sys.modules))"
    )
    done = call(tmp_path, sys.executable, "-c", code, "depth=8", *TINY, "recipe.iterations=2")
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1].split() == ["loaded:"]


@pytest.mark.parametrize(
    ("command", "entry", "schema", "example"),
    [
        ("resnet-train", "train", Config, "depth=34 residual=false"),
        ("resnet-study", "study", StudyRunConfig, "study=fig6 plan=true"),
        ("resnet-eval", "evaluate", EvaluationConfig, "protocol=ten-crop"),
        ("resnet-inspect", "inspect", InspectionConfig, "what=[signals]"),
    ],
)
def test_help_loads_nothing_heavy(
    tmp_path: Path, command: str, entry: str, schema: type[Any], example: str
) -> None:
    code = (
        "import sys, atexit; sys.argv = [sys.argv[1], '--help']; "
        "atexit.register(lambda: print('loaded:', *{'torch', 'torchvision', 'matplotlib', "
        "'sklearn', 'tensorboard', 'numpy'} & set(sys.modules))); "
        f"from resnet_degradation.cli.commands import {entry}; {entry}()"
    )
    done = call(tmp_path, sys.executable, "-c", code, command)
    assert done.returncode == 0
    assert done.stdout.splitlines()[-1].split() == ["loaded:"]
    assert command in done.stdout
    assert example in done.stdout
    assert max(len(line) for line in done.stdout.splitlines()) <= 80
    explained = {line.split()[0] for line in done.stdout.splitlines() if line.strip()}
    groups = {"data", "recipe", "runtime", "study"}
    assert set(schema_fields(schema)) - groups <= explained


@pytest.mark.long
def test_a_run_works_from_any_folder_and_says_when_it_is_finished(tmp_path: Path) -> None:
    first = resnet_train(tmp_path, *TINY)
    assert first.returncode == 0, first.stderr
    (folder,) = run_folders(tmp_path)
    assert folder.is_relative_to(tmp_path / "outputs" / "digits")
    assert "training error" in first.stdout
    assert str(folder.relative_to(tmp_path)) in first.stdout
    again = resnet_train(tmp_path, *TINY, "runtime.log_every=1")
    assert again.returncode == 0
    assert "is already finished" in again.stdout
    assert resnet_train(tmp_path, *TINY, "seed=1").returncode == 0
    assert len(run_folders(tmp_path)) == 2


def test_the_module_is_the_same_command(tmp_path: Path) -> None:
    done = call(tmp_path, sys.executable, "-m", "resnet_degradation.train", *TINY)
    assert done.returncode == 0, done.stderr
    assert len(run_folders(tmp_path)) == 1


def test_without_a_terminal_progress_is_plain_lines(tmp_path: Path) -> None:
    done = resnet_train(tmp_path, *TINY, "runtime.log_every=2")
    lines = [line for line in done.stdout.splitlines() if "images/s" in line]
    assert len(lines) == 2
    assert "left" in lines[-1]
    assert "\x1b" not in done.stdout
    assert max(map(len, done.stdout.splitlines())) <= 120


@pytest.mark.long
def test_a_sweep_makes_one_folder_per_job_and_continues_after_a_failed_one(tmp_path: Path) -> None:
    done = resnet_train(tmp_path, "-m", *TINY[1:], "depth=8,9,14", "residual=true,false")
    assert done.returncode == 2
    lines = done.stderr.splitlines()
    assert len(lines) == 3  # depth 9, plain and residual, and a count at the end
    assert lines[-1].startswith("error: 2 jobs failed: ")
    assert "depth=9" in done.stderr
    names = [folder.name for folder in run_folders(tmp_path)]
    assert len(names) == 4
    assert sum(name.startswith("plain-") for name in names) == 2
    written = {path.name for path in tmp_path.iterdir()}
    assert written == {"outputs"}


@pytest.mark.long
def test_a_job_of_a_sweep_has_the_threads_that_it_would_have_alone(tmp_path: Path) -> None:
    swept = ("runtime.num_threads=3,0", "output_dir=threads-${runtime.num_threads}")
    done = call(tmp_path, str(BIN / "resnet-train"), "-m", *TINY[:-1], *swept)
    assert done.returncode == 0, done.stderr
    threads = [line.partition("cpu, ")[2] for line in done.stdout.splitlines() if "cpu, " in line]
    assert threads == ["3 threads", "1 thread"]


def process_wide() -> list[Any]:
    """Settings that hold for the whole process."""
    backends = (torch.backends.cudnn, torch.backends.cuda.matmul)
    return [
        torch.get_num_threads(),
        [backend.allow_tf32 for backend in backends],
        torch.backends.cudnn.deterministic,
        torch.get_float32_matmul_precision(),
        torch.are_deterministic_algorithms_enabled(),
        torch.get_rng_state().tolist(),
        list(warnings.filters),
        {number: signal.getsignal(number) for number in signal.valid_signals()},
        # torch itself sets one of these when its compiler is imported.
        {name: v for name, v in os.environ.items() if not name.startswith("TORCHINDUCTOR")},
        logging.root.manager.disable,
    ]


def test_a_run_leaves_no_setting_to_the_next_of_its_process(
    tiny: Callable[..., Config], train_run: Callable[[Config], Path]
) -> None:
    import scipy.sparse  # noqa: F401 (adds a filter of warnings)

    from resnet_degradation.console.progress import NullProgress
    from resnet_degradation.evaluation.command import evaluate
    from resnet_degradation.evaluation.options import Evaluation
    from resnet_degradation.inspection.command import inspect

    torch.backends.cuda.matmul.allow_tf32 = True
    before = process_wide()
    try:
        config = tiny("runtime.num_threads=2", "recipe.iterations=2")
        folder = train_run(config)
        assert process_wide() == before
        shown = Console(quiet=True)
        evaluate(Evaluation(config, folder, "center", None, 8, (8,), None), shown, NullProgress())
        assert process_wide() == before
        asked = InspectionConfig(run=str(folder), what=["signals"], runtime=config.runtime)
        inspect(asked, shown, NullProgress())
        assert process_wide() == before
    finally:
        torch.backends.cuda.matmul.allow_tf32 = False


def test_what_a_run_kept_in_memory_is_free_for_the_next_of_its_process() -> None:
    keep_freed_memory()

    def resident() -> int:
        pages = int(Path("/proc/self/statm").read_text("utf-8").split()[1])
        return pages * os.sysconf("SC_PAGE_SIZE")

    if not Path("/proc/self/statm").exists():
        pytest.skip("memory is read from /proc")
    before = resident()
    with restore_settings():
        kept = [torch.ones(25_000_000) for _ in range(3)]
        assert resident() > before + 250e6
        del kept
    assert resident() < before + 100e6


def test_every_net_that_a_process_trains_is_compiled(
    tiny: Callable[..., Config],
    train_run: Callable[[Config], Path],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """torch compiles no more than `recompile_limit` nets, unless it forgets the earlier ones."""
    compile_by, compiled = torch.compile, []

    def compiler(graph: Any, _inputs: Any) -> Any:
        compiled.append(graph)
        return graph.forward

    monkeypatch.setattr(torch, "compile", lambda net, **_: compile_by(net, backend=compiler))
    with torch._dynamo.config.patch(recompile_limit=1):
        for depth in (8, 14):
            train_run(tiny("runtime.compile=net", f"depth={depth}", "recipe.iterations=1"))
            assert compiled
            compiled.clear()


def test_a_warning_is_given_to_each_run_of_a_process() -> None:
    with warnings.catch_warnings(record=True) as given:
        warnings.simplefilter("default")
        for _ in range(2):
            with restore_settings():
                for _ in range(2):
                    warnings.warn("once a run", stacklevel=1)
    assert len(given) == 2


def resnet_study(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return forked(folder, "resnet-study", *arguments)


@pytest.mark.long
def test_a_study_overridden_does_not_take_the_place_of_its_file(tmp_path: Path) -> None:
    done = resnet_study(tmp_path, *TINY_STUDY)
    assert done.returncode == 0, done.stderr
    (folder,) = (tmp_path / "outputs/studies").iterdir()
    assert folder.name.startswith("quick-digits-")
    assert str(folder.relative_to(tmp_path) / "report.html") in done.stdout
    assert max(map(len, done.stdout.splitlines())) <= 120
    again = resnet_study(tmp_path, *TINY_STUDY)
    assert "2 of 2 runs are finished" in again.stdout
    planned = resnet_study(tmp_path, *TINY_STUDY, "plan=true")
    assert "0 of 2 runs left" in planned.stdout


def test_a_part_of_a_study_is_one_run(tmp_path: Path) -> None:
    done = resnet_study(tmp_path, *TINY_STUDY, "part=2")
    assert done.returncode == 0, done.stderr
    (folder,) = run_folders(tmp_path)
    assert folder.name.startswith("ResNet-8-")
    assert not (tmp_path / "outputs/studies").exists()
    planned = resnet_study(tmp_path, *TINY_STUDY, "plan=true")
    assert "1 of 2 runs left" in planned.stdout


@pytest.mark.long
@pytest.mark.parametrize("launcher", ["joblib", "submitit_local"])
def test_a_study_runs_through_a_hydra_launcher(tmp_path: Path, launcher: str) -> None:
    plugin = launcher.partition("_")[0]
    pytest.importorskip(f"hydra_plugins.hydra_{plugin}_launcher", reason=f"no {plugin} launcher")
    chosen = (*TINY_STUDY, f"hydra/launcher={launcher}")
    assert resnet_study(tmp_path, *TINY_STUDY, "part=1").returncode == 0
    done = call(tmp_path, str(BIN / "resnet-study"), *chosen)
    assert done.returncode == 0, done.stderr
    assert [folder.name[:5] for folder in run_folders(tmp_path)] == ["ResNe", "plain"]
    (folder,) = (tmp_path / "outputs/studies").iterdir()
    assert {"report.html", "curves.png", "launcher.log"} <= {file.name for file in folder.iterdir()}
    failed = call(tmp_path, str(BIN / "resnet-study"), *chosen, "recipe.milestones=[900]")
    assert failed.returncode == 2
    assert "its job did not finish" in failed.stderr
    assert "Traceback" not in failed.stderr


def test_a_study_points_at_its_nets_for_what_a_run_calls_depth(tmp_path: Path) -> None:
    done = resnet_study(tmp_path, "depth=20")
    assert done.returncode == 2
    expected = (
        "error: there is no key depth: set 'study.nets=[{depth: 20, residual: false}, ...]'\n"
    )
    assert done.stderr == expected
    done = resnet_study(tmp_path, "study.nets=[{depth: 8, recipe: {lr: 1}}]")
    assert done.stderr.startswith("error: a net in study.nets has no key recipe, only depth, ")
    done = resnet_study(tmp_path, "study.nets.depth=20")
    assert done.returncode == 2
    (line,) = done.stderr.splitlines()
    assert line.startswith("error: these settings cannot be read: ")
    done = resnet_study(tmp_path, "seeds=0,1")
    assert (
        done.stderr == "error: 'seeds=0,1' names several values: use a list, such as seeds=[0,1]\n"
    )


@pytest.mark.long
def test_ctrl_c_says_how_to_go_on(tmp_path: Path) -> None:
    process = subprocess.Popen(
        [BIN / "resnet-train", *TINY, "recipe.iterations=4000"],
        cwd=tmp_path,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )
    wait_until(lambda: list(tmp_path.rglob("metrics.csv")))
    process.send_signal(signal.SIGINT)
    _, said = process.communicate()
    assert process.returncode == 130
    assert said.splitlines()[-1].endswith("the same command resumes it (SIGINT)")
    assert "Traceback" not in said


@pytest.mark.long
def test_two_processes_cannot_train_one_run(tmp_path: Path) -> None:
    process = subprocess.Popen(
        [BIN / "resnet-train", *TINY, "recipe.iterations=4000"],
        cwd=tmp_path,
        stdout=subprocess.DEVNULL,
    )
    wait_until(lambda: list(tmp_path.rglob("metrics.csv")))
    second = resnet_train(tmp_path, *TINY, "recipe.iterations=4000")
    assert second.returncode == 2
    (line,) = second.stderr.splitlines()
    assert f"is being trained by process {process.pid} on " in line
    process.kill()
    process.wait()
    (folder,) = run_folders(tmp_path)
    with run_lock(folder, str(tmp_path / "outputs")):
        pass  # the lock of a dead process is free


@pytest.mark.long
def test_a_killed_run_resumes(tmp_path: Path) -> None:
    arguments = [
        *TINY, "recipe.iterations=400", "runtime.checkpoint_every=20", "runtime.log_every=10",
    ]  # fmt: skip
    process = subprocess.Popen(
        [BIN / "resnet-train", *arguments], cwd=tmp_path, stdout=subprocess.DEVNULL
    )
    wait_until(lambda: list(tmp_path.rglob("iteration-*.pt")))
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert not list(tmp_path.rglob("summary.json"))
    resumed = resnet_train(tmp_path, *arguments)
    assert resumed.returncode == 0, resumed.stderr
    assert "resumed after" in resumed.stdout
    (folder,) = run_folders(tmp_path)
    with (folder / "metrics.csv").open(newline="") as stream:
        iterations = [int(row["iteration"]) for row in csv.DictReader(stream)]
    assert iterations == sorted(set(iterations))
    assert iterations[-1] == 400


def test_a_run_that_diverges_has_a_separate_exit_code(tmp_path: Path) -> None:
    done = resnet_train(tmp_path, *TINY, "recipe.lr=1e30", "recipe.iterations=20")
    assert done.returncode == 3
    (line,) = done.stderr.splitlines()
    assert "the loss of iteration 2 is not finite, at learning rate 1e+30" in line


def test_an_unreadable_image_is_named(tmp_path: Path, digits_folder: Callable[..., Path]) -> None:
    root = digits_folder()
    (root / "train/digit0/000.png").write_text("no image")
    done = resnet_train(tmp_path, "data=folder", f"data.root={root}", "data.image_size=12")
    assert done.returncode == 2
    (line,) = done.stderr.splitlines()
    assert line.startswith(f"error: cannot read the image {root}/train/digit0/000.png")


def test_plain_34_runs_on_the_embedded_data(tmp_path: Path) -> None:
    done = resnet_train(tmp_path, "depth=34", "residual=false", "recipe.iterations=2")
    assert done.returncode == 0, done.stderr
    assert "plain-34 seed 0, imagenet family" in done.stdout


@pytest.mark.long
def test_a_wheel_carries_its_configuration(tmp_path: Path) -> None:
    """The package is built, installed into a separate environment, and run from another folder."""
    repository = Path(__file__).parents[2]
    built = call(
        repository, sys.executable, "-m", "build", "--wheel", "--outdir", str(tmp_path / "dist")
    )
    assert built.returncode == 0, built.stdout + built.stderr
    (wheel,) = (tmp_path / "dist").glob("*.whl")
    environment = tmp_path / "environment"
    venv.create(environment)
    python = environment / "bin" / "python"
    # With this environment's pip: installing another one would take seconds.
    pip = (sys.executable, "-m", "pip", "--python", str(python), "install", "--no-deps")
    installed = call(tmp_path, *pip, str(wheel))
    assert installed.returncode == 0, installed.stderr
    # Python finds torch and the other dependencies in this environment, after its own packages.
    site = next((environment / "lib").glob("python*/site-packages"))
    (site / "borrowed.pth").write_text(f"{Path(torch.__file__).parents[1]}\n")
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    where = call(elsewhere, str(python), "-c", "import resnet_degradation as r; print(r.__file__)")
    assert where.stdout.startswith(str(site))
    command = str(environment / "bin" / "resnet-train")
    assert "depth=34 residual=false" in call(elsewhere, command, "--help").stdout
    done = call(elsewhere, command, *TINY)
    assert done.returncode == 0, done.stderr
    assert len(run_folders(elsewhere / "outputs")) == 1


def test_busy_cores_are_reported_where_threads_would_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(processes, "num_cpus", lambda: 4)
    monkeypatch.setattr(processes.os, "getloadavg", lambda: (5.3, 0.0, 0.0))
    assert "load 5.3 on 4" in processes.describe_cpu_contention(4)
    assert processes.describe_cpu_contention(1) == ""
    assert processes.describe_cpu_contention(4, own_load=4) == ""  # the load of a running training
    monkeypatch.setattr(processes.os, "getloadavg", lambda: (4.9, 0.0, 0.0))
    assert processes.describe_cpu_contention(4) == ""
