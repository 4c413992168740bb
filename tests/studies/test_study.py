"""The runs of a study: how its file names them, how they are executed, which files they leave."""

import csv
import json
import multiprocessing
import os
import re
import signal
import subprocess
import sys
import threading
import time
from dataclasses import replace
from pathlib import Path
from statistics import mean, stdev

import pytest
from rich.console import Console
from support.studies import composed_study, quiet, study_of, untimed_record

from resnet_degradation.cli.compose import config_folder
from resnet_degradation.config.identity import net_name, run_folder
from resnet_degradation.config.resolve import resolve
from resnet_degradation.config.schema import Config
from resnet_degradation.console.progress import NullProgress, ReportProgress
from resnet_degradation.distributed.world import World
from resnet_degradation.figures.curves import load_curves
from resnet_degradation.figures.depths import load_errors_by_depth, plot_depths
from resnet_degradation.records.run_folder import find_runs
from resnet_degradation.records.summary import is_finished, read_final_errors
from resnet_degradation.studies import execute
from resnet_degradation.studies.command import describe_failures, run_study
from resnet_degradation.studies.cost import image_cost, plan_costs
from resnet_degradation.studies.definition import Study
from resnet_degradation.studies.plan import print_plan
from resnet_degradation.studies.results import read_result
from resnet_degradation.system.errors import ConfigError, UserError
from resnet_degradation.training import session
from resnet_degradation.training.state import Run

CIFAR_NETS = [20, 32, 44, 56, 110]
NETS = {
    "quick": ["plain-20", "plain-56", "ResNet-20", "ResNet-56"],
    "quick-seeds": ["plain-20", "plain-56", "ResNet-20", "ResNet-56"] * 3,
    "fig1": ["plain-20", "plain-56"],
    "fig4": ["plain-18", "plain-34", "ResNet-18", "ResNet-34"],
    "fig6": [f"{kind}-{depth}" for kind in ("plain", "ResNet") for depth in CIFAR_NETS],
    "fig6-1202": [
        *(f"{kind}-{depth}" for kind in ("plain", "ResNet") for depth in CIFAR_NETS),
        "ResNet-1202",
    ],
    "fig6-quarter": [
        *(f"plain-{depth}" for depth in CIFAR_NETS[:-1]),
        *(f"ResNet-{depth}" for depth in CIFAR_NETS),
    ],
    "fig6-short": [
        *("plain-20-width0.25", "plain-56-width0.25", "ResNet-20-width0.25", "ResNet-56-width0.25"),
    ],
    "fig7": ["plain-20", "plain-56", "ResNet-20", "ResNet-56", "ResNet-110"],
    "table3": ["plain-34", "ResNet-34", "ResNet-34-B", "ResNet-34-C"],
    "bottleneck": [
        *("plain-34", "plain-50", "ResNet-34-B", "ResNet-50", "ResNet-50-width0.975"),
    ],
    "constructed": ["plain-20", "plain-56", "plain-56-from-20"],
    "depths": [f"{kind}-{n}" for kind in ("plain", "ResNet") for n in (8, 14, 20, 32, 44, 56)] * 3,
}
GRIDS = ("learning-rates", "longer")  # test_grid.py has them
ON_DIGITS = ("quick", "quick-seeds", "bottleneck", "constructed", "depths")


def test_there_is_a_study_for_every_figure() -> None:
    assert {file.stem for file in (config_folder() / "study").glob("*.yaml")} == {*NETS, *GRIDS}


@pytest.mark.parametrize("name", NETS)
def test_a_study_names_the_nets_of_its_figure(name: str) -> None:
    study = composed_study(f"study={name}")
    assert [net_name(run) for run in study.runs] == NETS[name]
    assert study.folder == Path("outputs/studies") / name
    images = dict.fromkeys(ON_DIGITS, "digits") | dict.fromkeys(("fig4", "table3"), "imagenet")
    assert {run.data.name for run in study.runs} == {images.get(name, "cifar10")}
    if name.startswith("fig") and name != "fig4":
        fewer = {"fig6-short": 8_000, "fig6-quarter": 16_000}
        assert {run.recipe.iterations for run in study.runs} == {fewer.get(name, 64_000)}


@pytest.mark.parametrize("name", NETS)
def test_a_study_with_overrides_gets_a_separate_folder(name: str) -> None:
    overrides = (f"study={name}", "data=folder", "data.root=/images", "seeds=[3,4]")
    study = composed_study(*overrides, "recipe.iterations=2000")
    assert {run.data.root for run in study.runs} == {"/images"}
    assert {run.recipe.iterations for run in study.runs} == {2000}
    assert {run.seed for run in study.runs} == {3, 4}
    assert study.folder.name.startswith(f"{name}-images-")
    longer = composed_study(*overrides, "recipe.iterations=4000")
    assert longer.folder != study.folder
    assert composed_study(*overrides, "recipe.iterations=2000", "jobs=2").folder == study.folder
    assert composed_study(f"study={name}", "study.title=mine").folder.name != name


def test_a_study_that_is_given_a_name_keeps_it() -> None:
    study = composed_study("study=quick", "study.name=mine", "seeds=[1]")
    assert study.folder == Path("outputs/studies/mine")


@pytest.mark.parametrize(
    ("override", "said"),
    [
        ("seeds=[]", "seeds"),
        ("seeds=[0,0]", "the same run twice: plain-8"),
        ("study.name=../elsewhere", "use a plain name, without path separators"),
        ("study.name=..", "use a plain name, without path separators"),
        ("study.name=", "use a plain name, without path separators"),
        ("study.figures=[pictures]", "choose curves, responses"),
        ("study.panels=[]", "at least one"),
        ("study.panels=[{errors: all}]", "choose both, training, held-out"),
        ("study.panels=[{residual: true}]", "shows plain-8"),
        ("study.y_max=-1", "study.y_max"),
        ("jobs=0", "jobs=0"),
        (("jobs=2", "runtime.devices=2"), r"jobs=2 does not work with runtime\.devices=2"),
        ("part=5", "it must be from 1 to 4"),
        ("part=0", "it must be from 1 to 4"),
    ],
)
def test_what_cannot_be_a_study_is_refused(
    tmp_path: Path, override: str | tuple[str, ...], said: str
) -> None:
    overrides = (override,) if isinstance(override, str) else override
    with pytest.raises(ConfigError, match=said):
        study_of(tmp_path, *overrides)


def test_a_study_leaves_figures_tables_report_and_index(tmp_path: Path) -> None:
    study = study_of(tmp_path, "seeds=[0,1]")
    run_study(study, quiet())
    assert {file.name for file in study.folder.iterdir()} == {
        *("curves.png", "curves.svg", "curves.pdf", "study.json"),
        *("results.csv", "results.md", "results.tex"),
        *("report.md", "report.html"),
    }
    assert (study.folder / "curves.png").read_bytes().startswith(b"\x89PNG")
    assert (study.folder / "curves.pdf").read_bytes().startswith(b"%PDF")
    assert "<svg" in (study.folder / "curves.svg").read_text()
    with (study.folder / "results.csv").open(newline="") as stream:
        results = list(csv.DictReader(stream))
    assert [row["net"] for row in results[:4]] == [
        f"{kind}-{depth}-width0.5" for kind in ("plain", "ResNet") for depth in (8, 14)
    ]
    assert len(results) == 8
    index = json.loads((study.folder / "study.json").read_text())
    assert len(index["runs"]) == 8
    assert len(index["verdicts"]) == 3
    assert [path.resolve() for path in find_runs(study.folder)] == [
        read_result(run).folder.resolve() for run in study.runs
    ]


def test_a_repeated_study_runs_nothing_again(tmp_path: Path) -> None:
    study = study_of(tmp_path)
    run_study(study, quiet())
    before = {run.depth: read_result(run).seconds for run in study.runs}
    records = [file.stat().st_mtime_ns for file in sorted(tmp_path.rglob("metrics.csv"))]
    run_study(study, quiet())
    assert [f.stat().st_mtime_ns for f in sorted(tmp_path.rglob("metrics.csv"))] == records
    assert {run.depth: read_result(run).seconds for run in study.runs} == before


def break_first_run(study: Study) -> None:
    checkpoints = run_folder(study.runs[0]) / "checkpoints"
    checkpoints.mkdir(parents=True)
    (checkpoints / "iteration-000000005.pt").write_bytes(b"no checkpoint")


def test_a_reason_that_several_runs_share_is_given_once() -> None:
    failed = {"plain-8": "disk full", "ResNet-8": "out of memory", "plain-14": "disk full"}
    assert describe_failures(failed, 4) == (
        "3 of 4 runs failed and are not in the report. "
        "plain-8, plain-14: disk full; ResNet-8: out of memory"
    )


@pytest.mark.parametrize("jobs", [1, pytest.param(2, marks=pytest.mark.long)])
@pytest.mark.filterwarnings("ignore:damaged")
def test_a_failed_run_does_not_keep_the_others_from_running(tmp_path: Path, jobs: int) -> None:
    study = study_of(tmp_path)
    break_first_run(study)
    with pytest.raises(UserError, match=r"1 of 4 runs failed.*plain-8.*no checkpoint in"):
        run_study(study, quiet(), jobs=jobs)
    assert [read_result(run).config.depth for run in study.runs[1:]] == [14, 8, 14]
    assert (study.folder / "curves.png").exists()
    assert len(json.loads((study.folder / "study.json").read_text())["runs"]) == 3
    for name in ("report.md", "report.html"):
        text = (study.folder / name).read_text()
        assert "Not in this report:" in text
        assert "plain-8-width0.5 seed 0: no checkpoint in" in text


def test_a_run_that_diverges_does_not_keep_the_others_from_running(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    study = study_of(tmp_path)
    prepare = session.prepare

    def hasty(config: Config, world: World, report: ReportProgress) -> Run:
        run = prepare(config, world, report)
        if config.depth == 14 and config.residual:
            monkeypatch.setattr(run.schedule, "lr", lambda _: 1e30)
        return run

    monkeypatch.setattr(session, "prepare", hasty)
    with pytest.raises(UserError, match=r"1 of 4 runs failed.*ResNet-14.*iteration 2 is not fin"):
        run_study(study, quiet())
    assert len(list(tmp_path.rglob("summary.json"))) == 3


def test_a_bug_in_one_run_shows_its_traceback_and_the_others_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    train = session.train

    def broken(config, progress):  # type: ignore[no-untyped-def]
        if config.depth == 14 and config.residual:
            raise ZeroDivisionError("a bug")
        return train(config, progress)

    monkeypatch.setattr(session, "train", broken)
    with pytest.raises(UserError, match="ZeroDivisionError: a bug"):
        run_study(study_of(tmp_path), quiet())
    assert "Traceback" in capsys.readouterr().err
    assert len(list(tmp_path.rglob("summary.json"))) == 3


@pytest.mark.long
def test_parallel_runs_give_the_same_results_as_sequential_runs(tmp_path: Path) -> None:
    in_turn, at_once = study_of(tmp_path / "a"), study_of(tmp_path / "b", "runtime.num_threads=1")
    run_study(in_turn, quiet())
    run_study(at_once, quiet(), jobs=2)
    for one, other in zip(in_turn.runs, at_once.runs, strict=True):
        assert untimed_record(run_folder(one)) == untimed_record(run_folder(other))
    for name in ("curves.svg", "study.json"):
        assert (in_turn.folder / name).read_bytes() == (at_once.folder / name).read_bytes()


def test_threads_are_divided_among_jobs_unless_given(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(8)), raising=False)
    run = study_of(tmp_path).runs[0]
    assert execute.with_thread_share(run, 3).runtime.num_threads == 2
    assert execute.with_thread_share(run, 99).runtime.num_threads == 1
    given = study_of(tmp_path, "runtime.num_threads=5").runs[0]
    assert execute.with_thread_share(given, 3).runtime.num_threads == 5


@pytest.mark.long
def test_a_killed_process_takes_its_run_and_no_other(tmp_path: Path) -> None:
    study = study_of(tmp_path, "recipe.iterations=300", "runtime.log_every=10")

    def kill_one() -> None:
        while not list(tmp_path.rglob("metrics.csv")):
            time.sleep(0.02)
        os.kill(multiprocessing.active_children()[0].pid or 0, signal.SIGKILL)

    killer = threading.Thread(target=kill_one, daemon=True)
    killer.start()
    with pytest.raises(UserError, match=r"1 of 4 runs failed.*ended unexpectedly"):
        run_study(study, quiet(), jobs=2)
    assert sum(is_finished(run_folder(run)) for run in study.runs) == 3
    run_study(study, quiet(), jobs=2)
    assert all(is_finished(run_folder(run)) for run in study.runs)


KILLED = (
    *("recipe.iterations=120", "runtime.log_every=10", "runtime.eval_every=20"),
    *("runtime.checkpoint_every=15", "runtime.num_threads=1"),
)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Study:
    """A study that was never interrupted."""
    study = study_of(tmp_path_factory.mktemp("whole"), *KILLED)
    run_study(study, quiet())
    return study


@pytest.mark.long
@pytest.mark.slow
@pytest.mark.parametrize("jobs", [1, 2])
def test_a_study_killed_at_any_moment_ends_as_one_never_interrupted(
    whole: Study, tmp_path: Path, jobs: int
) -> None:
    killed = study_of(tmp_path / "killed", *KILLED)
    code = (
        "import sys; sys.path.insert(0, sys.argv[1]); from pathlib import Path; "
        "from support.studies import quiet, study_of; "
        "from resnet_degradation.studies.command import run_study; "
        "run_study(study_of(Path(sys.argv[2]), *sys.argv[4:]), quiet(), jobs=int(sys.argv[3]))"
    )
    script = tmp_path / "study.py"
    script.write_text(f"if __name__ == '__main__':\n    {code}\n")
    command = [
        *(sys.executable, str(script), str(Path(__file__).parents[1]), str(tmp_path / "killed")),
        *(str(jobs), *KILLED),
    ]
    kills = 0
    for delay in (0.2, 0.7, 1.3, 0.4):
        process = subprocess.Popen(command)
        before = len(list((tmp_path / "killed").rglob("iteration-*.pt")))
        deadline = time.monotonic() + 60
        while process.poll() is None and time.monotonic() < deadline:
            if len(list((tmp_path / "killed").rglob("iteration-*.pt"))) > before:
                break
            time.sleep(0.02)
        time.sleep(delay)
        kills += process.poll() is None
        process.kill()
        process.wait()
        time.sleep(1.0)  # the study's processes notice that it has ended, and end
        records = {file: file.stat().st_mtime_ns for file in tmp_path.rglob("metrics.csv")}
        time.sleep(0.5)
        assert {f: f.stat().st_mtime_ns for f in tmp_path.rglob("metrics.csv")} == records
    assert kills >= 2
    run_study(killed, quiet(), jobs=jobs)
    for one, other in zip(whole.runs, killed.runs, strict=True):
        assert untimed_record(run_folder(one)) == untimed_record(run_folder(other))
        assert read_result(one).errors == read_result(other).errors
        responses = [(run_folder(run) / "responses.csv").read_bytes() for run in (one, other)]
        assert responses[0] == responses[1]
    for name in ("curves.png", "curves.svg", "curves.pdf", "study.json"):
        assert (whole.folder / name).read_bytes() == (killed.folder / name).read_bytes()


def test_a_plan_says_what_is_left_and_runs_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    study = study_of(tmp_path)
    first = Study("one", study.runs[:1], study.figures, study.drawing, study.folder)
    run_study(first, quiet())
    before = sorted(tmp_path.rglob("*"))
    costs, (measured,) = plan_costs(study)
    assert [cost.state for cost in costs] == ["finished", "to do", "to do", "to do"]
    assert "plain-14" in measured
    # 3 forward passes a step of 32 images, 3 evaluations of 360 and the responses at the end.
    deep, shallow = costs[1].multiply_adds, costs[2].multiply_adds
    assert shallow == read_result(study.runs[0]).multiply_adds * (3 * 32 * 6 + 4 * 360)
    assert 1.5 < deep / shallow < 3
    assert all(cost.seconds[1] > 0 for cost in costs[1:])
    print_plan(study, Console(width=80, force_terminal=True, color_system=None))
    output = re.sub(r"\x1b\[[?\d;]*[A-Za-z]", "", capsys.readouterr().out)  # of the spinner
    assert "3 of 4 runs left" in output
    lines = [line for line in output.splitlines() if str(tmp_path) not in line]
    assert max(map(len, lines)) <= 80
    assert sorted(tmp_path.rglob("*")) == before


def test_a_plan_needs_no_images_unless_lengths_are_in_epochs(tmp_path: Path) -> None:
    missing = (
        *("study=fig1", f"data.root={tmp_path}", "width=0.25", "recipe.batch_size=8"),
        f"output_dir={tmp_path}",
    )
    costs, notes = plan_costs(composed_study(*missing))
    assert f"Evaluations are not counted: cifar10 is not in {tmp_path} yet" in notes
    assert [cost.iterations for cost in costs] == [64_000, 64_000]
    with pytest.raises(UserError, match="in epochs, but cifar10 was not found"):
        plan_costs(composed_study(*missing, "recipe.iterations=2ep"))
    assert not list(tmp_path.iterdir())


@pytest.mark.long
@pytest.mark.slow
def test_the_quick_figure_shows_degradation_and_its_cure(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    study = composed_study(f"output_dir={tmp_path}")
    run_study(study, Console(width=100))
    results = [read_result(run) for run in study.runs]
    errors = {(r.config.depth, r.config.residual): r.errors.train_error for r in results}
    assert errors[56, False] > errors[20, False] + 20
    assert errors[56, True] < 0.5 * errors[56, False]
    assert errors[56, True] < 10
    said = " ".join(capsys.readouterr().out.split())
    assert "degradation" in said
    assert "the shortcuts cure it" in said
    assert str(tmp_path / "studies" / "quick" / "curves.png") in said
    assert (study.folder / "curves.png").stat().st_size > 20_000


def test_a_bottleneck_is_compared_at_the_same_multiply_adds() -> None:
    study = composed_study("study=bottleneck", "data.image_size=64")
    costs = {net_name(run): image_cost(run) for run in study.runs}
    basic = costs["ResNet-34-B"]
    assert costs["ResNet-50-width0.975"] == pytest.approx(basic, rel=0.01)
    assert costs["ResNet-50"] > 1.04 * basic


CONSTRUCTED = (
    "study=constructed", "recipe.iterations=12", "recipe.batch_size=32", "data.image_size=8",
    "recipe.pad=1", "width=0.5", "runtime.log_every=4",
    "study.nets=[{depth: 14, residual: false, extends: 8}, {depth: 8, residual: false}, "
    "{depth: 14, residual: false}]",
)  # fmt: skip


@pytest.mark.parametrize("jobs", [1, pytest.param(2, marks=pytest.mark.long)])
def test_a_deep_net_starts_from_the_solution_of_a_shallow_one(tmp_path: Path, jobs: int) -> None:
    """The shallow run comes first, regardless of its place in the study."""
    study = composed_study(*CONSTRUCTED, f"output_dir={tmp_path}", "runtime.num_threads=1")
    run_study(study, quiet(), jobs=jobs)
    extended, shallow, _ = (run_folder(run) for run in study.runs)
    facts = json.loads((extended / "extension.json").read_text())
    assert facts["deep"] == facts["shallow"]
    assert facts["largest_difference"] < 1e-4 * facts["largest_score"]
    val = read_final_errors(shallow).val_error
    assert facts["deep"]["held_out_errors"]["val"] == pytest.approx(val, abs=1e-6)
    report = (study.folder / "report.md").read_text()
    assert "plain-14-width0.5-from-8 (seed 0) before training and plain-8-width0.5" in report
    assert "plain-14-width0.5-from-8 minus plain-14-width0.5" in report


def test_an_extension_needs_its_shallow_run(tmp_path: Path) -> None:
    run = resolve(
        replace(
            composed_study(*CONSTRUCTED, f"output_dir={tmp_path}").runs[0],
            output_dir=str(tmp_path / "elsewhere"),
        )
    )
    with pytest.raises(UserError, match=r"cannot start from .*plain-8.*is not finished"):
        session.train(run, NullProgress())


def test_final_errors_are_drawn_against_depth(tmp_path: Path) -> None:
    study = composed_study(
        *CONSTRUCTED[1:-1], "study=depths", f"output_dir={tmp_path}", "seeds=[0,1]",
        "study.nets=[{depth: 8, residual: false}, {depth: 14, residual: false}, "
        "{depth: 8, residual: true}]",
    )  # fmt: skip
    run_study(study, quiet())
    assert (study.folder / "depths.png").is_file()
    plain, residual = load_errors_by_depth([run_folder(run) for run in study.runs])
    assert (plain.name, residual.name) == ("plain nets", "residual nets")
    assert [config.depth for config in plain.configs] == [8, 14]
    assert [config.depth for config in residual.configs] == [8]
    for depth, errors in zip((8, 14), plain.errors, strict=True):
        recorded = [
            read_final_errors(run_folder(run)).train_error
            for run in study.runs
            if run.depth == depth and not run.residual
        ]
        assert errors.tolist() == recorded
    drawn = plot_depths([plain, residual], study.drawing).axes[0].get_lines()
    assert drawn[0].get_ydata().tolist() == [errors.mean() for errors in plain.errors]


BLOCKS = {
    "first_blocks": "x = self.branch(x) + self.shortcut(x)",
    "second_blocks": "x = super().forward(x)",
}


@pytest.mark.long
def test_nets_are_grouped_by_what_identifies_them_and_not_by_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Two custom blocks of one class name are two nets in tables, verdicts, figures and plans."""
    monkeypatch.chdir(tmp_path)
    for module, step in BLOCKS.items():
        (tmp_path / f"{module}.py").write_text(
            "from resnet_degradation.nets.blocks import BasicBlock\n\n\n"
            f"class MyBlock(BasicBlock):\n    def forward(self, x):\n        {step}\n"
            "        return x\n"
        )
    nets = [f'{{depth: 8, residual: true, block: "{module}:MyBlock"}}' for module in BLOCKS]
    study = study_of(
        tmp_path,
        f"study.nets=[{', '.join(nets)}]",
        "study.figures=[curves,responses,depths]",
        "seeds=[0,1]",
    )
    names = [f"ResNet-8-width0.5-MyBlock (block {module}:MyBlock)" for module in BLOCKS]
    costs, (measured,) = plan_costs(study)
    assert len(costs) == 4
    assert all(name in measured for name in names)
    # Where a narrow terminal breaks the name depends on the width of the measured times.
    print_plan(study, Console(width=200))
    assert "(block second_blocks:MyBlock)" in capsys.readouterr().out
    run_study(study, Console(width=80))
    printed = capsys.readouterr().out
    assert max(len(line) for line in printed.splitlines() if "│" in line) <= 80
    for name in names:
        assert f"{name} seed 0: final training error" in printed
        assert f"{name} seed 1: final training error" in printed
    with (study.folder / "results.csv").open(newline="") as stream:
        rows = list(csv.DictReader(stream))
    assert [(row["net"], row["seed"]) for row in rows] == [(n, s) for s in "01" for n in names]
    for file in ("report.md", "report.html"):
        assert all((study.folder / file).read_text().count(name) >= 4 for name in names)
    (verdict,) = json.loads((study.folder / "study.json").read_text())["verdicts"]
    errors: dict[str, list[float]] = {}
    for row in rows:
        errors.setdefault(row["net"], []).append(float(row["mean_response"]))
    for name, means in errors.items():
        assert f"{name} {mean(means):.2f} ± {stdev(means):.2f}" in verdict
    folders = [run_folder(run) for run in study.runs]
    assert [(net.name, net.num_seeds) for net in load_curves(folders)] == [(n, 2) for n in names]
    assert [len(one.errors[0]) for one in load_errors_by_depth(folders)] == [2, 2]


def test_an_extension_across_110_layers_names_the_command_for_its_shallow_run(
    tmp_path: Path,
) -> None:
    study = composed_study(
        *CONSTRUCTED[:-1], f"output_dir={tmp_path}", "width=0.0625",
        "study.nets=[{depth: 110, residual: false, extends: 8}]",
    )  # fmt: skip
    (run,) = study.runs
    with pytest.raises(UserError, match=r"with depth=8 recipe\.warmup=always and without extends"):
        session.train(run, NullProgress())
