"""The report shows results next to the paper's values, with the conditions of the runs."""

import csv
import re
from collections.abc import Callable
from copy import deepcopy
from dataclasses import asdict, replace
from functools import reduce
from pathlib import Path
from typing import Any

import pytest
import yaml
from rich.console import Console
from support.studies import composed_study, quiet, study_of

from resnet_degradation.config.identity import digest, run_folder
from resnet_degradation.config.schema import Config
from resnet_degradation.console.progress import NullProgress
from resnet_degradation.evaluation.command import evaluate
from resnet_degradation.evaluation.options import Evaluation, default_scales, default_shorter_side
from resnet_degradation.figures.curves import load_curves
from resnet_degradation.records.summary import FinalErrors, read_final_errors
from resnet_degradation.reference import paper
from resnet_degradation.studies.command import run_study
from resnet_degradation.studies.findings import find_cautions
from resnet_degradation.studies.report import make_net_table, print_report, write_report
from resnet_degradation.studies.results import Result, group_results_by_net, read_result


def only(name: str, *overrides: str) -> dict[str, Config]:
    from resnet_degradation.config.identity import net_name

    return {net_name(run): run for run in composed_study(f"study={name}", *overrides).runs}


def test_the_papers_values_are_those_of_its_tables() -> None:
    cifar = {**only("fig6"), **only("fig6-1202")}
    references = {name: paper.find_reference(run) for name, run in cifar.items()}
    assert {name: ref.error for name, ref in references.items() if ref is not None} == {
        "ResNet-20": 8.75,
        "ResNet-32": 7.51,
        "ResNet-44": 7.17,
        "ResNet-56": 6.97,
        "ResNet-110": 6.61,
        "ResNet-1202": 7.93,
    }
    assert str(references["ResNet-110"]) == "6.61 ± 0.16"
    imagenet = {**only("fig4"), **only("table3")}
    assert {name: str(paper.find_reference(run)) for name, run in imagenet.items()} == {
        "plain-18": "27.94",
        "plain-34": "28.54",
        "ResNet-18": "27.88",
        "ResNet-34": "25.03",
        "ResNet-34-B": "24.52",
        "ResNet-34-C": "24.19",
    }
    assert paper.find_reference(only("quick", "width=2")["ResNet-20-width2"]) is None
    assert paper.find_reference(only("quick", "shortcut=B")["ResNet-20-B"]) is None


@pytest.mark.parametrize("name", ["fig1", "fig6-1202", "fig4", "table3"])
def test_the_studies_of_the_paper_are_by_the_papers_recipe(name: str) -> None:
    for run in composed_study(f"study={name}").runs:
        assert paper.list_differences(run) == []


@pytest.mark.parametrize(
    ("override", "difference"),
    [
        ("recipe.iterations=2000", "iterations 2000"),
        ("recipe.lr=0.05", "lr 0.05"),
        ("recipe.milestones=[0.4,0.8]", "milestones [0.4, 0.8]"),
        ("recipe.warmup=always", "warmup always"),
        ("recipe.mirror=false", "mirror False"),
        ("data.validation_fraction=0.1", "10% of the training set held out"),
        ("data.mean=channel", "mean per channel"),
        ("runtime.precision=bf16", "precision bf16"),
        ("data.image_size=64", "images of 64x64"),
    ],
)
def test_every_departure_from_the_papers_recipe_is_named(override: str, difference: str) -> None:
    run = only("fig6", override)["ResNet-56"]
    assert difference in paper.list_differences(run)


def dotted(values: dict[str, Any]) -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in values.items():
        below = dotted(value) if isinstance(value, dict) else None
        flat |= {key: value} if below is None else {f"{key}.{k}": v for k, v in below.items()}
    return flat


# Settings that name the net to be compared with the paper's, and the name of the data.
NOT_COMPARED = ("depth", "residual", "shortcut", "family", "seed", "data.root", "data.loader")


@pytest.mark.parametrize(("depth", "shortcut"), [(34, "A"), (50, "B")])
def test_every_setting_that_changes_results_is_a_departure(depth: int, shortcut: str) -> None:
    """Whichever settings there are, or will be: a run's identity has them."""
    run = replace(only("fig4")["ResNet-34"], depth=depth, shortcut=shortcut)
    assert paper.list_differences(run) == []
    other = {bool: False, int: 7, float: 0.7, str: "other", list: [1, 2], type(None): "other"}
    compared = []
    for key, value in dotted(asdict(run)).items():
        if key in NOT_COMPARED or key.startswith("recipe.plateau_"):
            continue
        changed = deepcopy(run)
        *path, name = key.split(".")
        setattr(reduce(getattr, path, changed), name, other[type(value)])
        if digest(changed) != digest(run):
            compared.append(key)
            assert paper.list_differences(changed), key
    assert {"block", "extends", "weights_digest", "runtime.precision", "recipe.lr"} < {*compared}


def test_what_changes_no_result_is_no_departure() -> None:
    run = only(
        *("fig6", "runtime.log_every=7", "recipe.warmup_window=20", "data.root=/elsewhere"),
        "recipe.milestones=[32000,48000]",
    )
    assert paper.list_differences(run["ResNet-110"]) == []


def result(config: Config, error: float) -> Result:
    return Result(
        config, Path(), FinalErrors(1.0, None, error, 50_000), 1, 1, 64_000, 1.0, 10, False, 1.0, {}
    )


def paper_column(results: list[Result]) -> tuple[dict[str, str], list[str]]:
    """The paper's value that the report prints for each net, and the notes on it."""
    table, notes = make_net_table(group_results_by_net(results), "test error (%)")
    return {row["net"]: row["the paper (%)"] for row in table}, notes


def test_the_papers_value_is_never_beside_other_conditions_without_saying_so() -> None:
    values, notes = paper_column([result(run, 8.0) for run in only("fig6").values()])
    assert not notes
    assert values["ResNet-20"] == "8.75 (Table 6)"
    assert values["plain-20"] == "-"
    other = [result(run, 8.0) for run in only("fig6", "data=folder", "data.root=/jpeg").values()]
    values, notes = paper_column(other)
    assert values["ResNet-20"] == "8.75 (Table 6)†"
    assert notes == [
        "† Not comparable: the paper's error is on CIFAR-10's test images by its own recipe; here: "
        "data jpeg."
    ]
    # The paper's Tables 2 and 3 average ten views, not one.
    values, notes = paper_column([result(run, 30.0) for run in only("fig4").values()])
    assert all(value.endswith("†") for value in values.values())
    assert "ten-crop" in notes[0]


def test_the_papers_value_is_marked_for_a_net_that_began_as_another() -> None:
    nets = "study.nets=[{depth: 34, residual: false, extends: 18}, {depth: 34, residual: false}]"
    values, notes = paper_column([result(run, 30.0) for run in only("fig4", nets).values()])
    assert [*values.values()] == ["28.54 (Table 2)†", "28.54 (Table 2)††"]
    assert "initialized with the solution of plain-18" in notes[0]
    assert "initialized with" not in notes[1]


def test_the_papers_value_is_marked_where_images_were_skipped(
    tmp_path: Path, digits_folder: Callable[..., Path]
) -> None:
    root = digits_folder(num_train=12, size=8)
    (root / "train/digit0/003.png").write_bytes(b"no image")
    study = study_of(
        tmp_path, "study.nets=[{depth: 20, residual: true}]", "width=1", "data=folder",
        f"data.root={root}", "data.on_error=skip", "recipe.batch_size=8", "recipe.iterations=2",
    )  # fmt: skip
    run_study(study, quiet())
    (note,) = paper_column([read_result(run) for run in study.runs])[1]
    assert note.endswith("unreadable images left out: 1.")
    console = Console(width=80)
    with console.capture() as printed:
        (run,) = study.runs
        sizes = (default_shorter_side(run), default_scales(run))
        evaluation = Evaluation(run, run_folder(run), "center", None, *sizes, export=None)
        evaluate(evaluation, console, NullProgress())
    assert "unreadable images left out: 1" in " ".join(printed.get().split())


def test_nets_of_the_same_name_are_distinguished_by_the_settings_that_differ() -> None:
    run = only("fig6")["ResNet-20"]
    nets = [replace(run, width=width, seed=seed) for width in (0.5, 0.5000001) for seed in (0, 1)]
    table, _ = make_net_table(
        group_results_by_net([result(net, 8.0) for net in nets]), "test error (%)"
    )
    assert [(row["net"], row["seeds"]) for row in table] == [
        ("ResNet-20-width0.5 (width 0.5)", "0, 1"),
        ("ResNet-20-width0.5 (width 0.5000001)", "0, 1"),
    ]


def test_nets_that_differ_in_more_than_architecture_are_cautioned_about() -> None:
    nets = (
        "study.nets=[{depth: 56, residual: false}, {depth: 110, residual: false}, "
        "{depth: 110, residual: false, extends: 56}]"
    )
    extension, warm_up = find_cautions([result(run, 8) for run in only("fig6", nets).values()])
    assert extension.startswith("plain-110-from-56 began with the solution of plain-56")
    assert extension.endswith(
        "that net, which was trained with recipe.warmup=always (unlike plain-56 in this study)"
    )
    assert warm_up.startswith(
        "recipe.warmup is never for plain-56 and always for plain-110, plain-110-from-56:"
    )
    alike = only("fig6", nets, "recipe.warmup=never").values()
    assert len(find_cautions([result(run, 8) for run in alike])) == 1  # for the extension


def test_a_report_shows_what_all_runs_share_and_in_what_they_differ(tmp_path: Path) -> None:
    earlier = study_of(tmp_path, "seeds=[0,1]", "runtime.log_every=3")
    run_study(replace(earlier, runs=earlier.runs[:1]), quiet())
    study = study_of(tmp_path, "seeds=[0,1]")
    run_study(study, quiet())
    markdown = (study.folder / "report.md").read_text()
    (section,) = re.findall(r"## Configuration\n(.*?)\n## ", markdown, re.DOTALL)
    (shared,) = re.findall(r"```yaml\n(.*?)```", section, re.DOTALL)
    table = [line for line in section.splitlines() if line.startswith("|")]
    assert table[0] == "| net | seeds | depth | residual | shortcut | runtime.log_every |"
    assert table[2:] == [
        "| plain-8-width0.5 | 0 | 8 | False | - | 3 |",
        "| plain-14-width0.5 | 0, 1 | 14 | False | - | 2 |",
        "| ResNet-8-width0.5 | 0, 1 | 8 | True | A | 2 |",
        "| ResNet-14-width0.5 | 0, 1 | 14 | True | A | 2 |",
        "| plain-8-width0.5 | 1 | 8 | False | - | 2 |",
    ]
    settings = dotted(yaml.safe_load(shared))
    assert (settings["recipe.iterations"], settings["width"]) == (6, 0.5)
    assert not {"depth", "residual", "shortcut", "seed", "runtime.log_every"} & {*settings}
    page = (study.folder / "report.html").read_text()
    (section,) = re.findall(r'<table id="differing">(.*?)</table>', page, re.DOTALL)
    assert re.findall(r'<th scope="row"><span>(.*?)</span>', section)[0] == "plain-8-width0.5"
    assert re.findall(r"<td>(.*?)</td>", section)[:5] == ["0", "8", "False", "-", "3"]


def test_a_report_has_numbers_verdicts_conditions_and_the_command(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    study = study_of(tmp_path, "seeds=[0,1]")
    run_study(study, quiet(), arguments=["study=quick", "seeds=[0,1]"])
    markdown = (study.folder / "report.md").read_text()
    page = (study.folder / "report.html").read_text()
    parameters = read_result(study.runs[0]).num_parameters
    for text in (markdown, page):
        for run in study.runs:
            assert f"{read_final_errors(run_folder(run)).train_error:.2f}" in text
            assert f"/{run_folder(run).name}" in text  # a link
        assert "resnet-study study=quick &#39;seeds=[0,1]&#39;" in text.replace("'", "&#39;")
        assert "digits 8x8; 6 iterations of 32 images" in text
        assert "ResNet-14-width0.5 minus plain-14-width0.5:" in text
        for part in ("torch:", "num_cpus:", "weight_decay:", f"{parameters:,}", "±"):
            assert part in text
    # Figures, styles and scripts are part of the file; it loads nothing.
    assert not re.findall(r"""(?:src|href|srcset)=["']?(?:https?:)?//""", page)
    assert "@import" not in page
    assert page.count("data:image/svg+xml;base64,") == 4  # wide and narrow, light and dark
    (alt,) = re.findall('<img [^>]*alt="(.*?)"', page)
    curve = load_curves([run_folder(run) for run in study.runs])[0].train
    points = [f"{y:.3g} at {x:g}" for x, y in zip(curve.x, curve.mean, strict=True)]
    assert f"plain nets: plain-8-width0.5 training {', '.join(points)};" in alt
    with (study.folder / "results.csv").open(newline="") as stream:
        rows = list(csv.DictReader(stream))
    assert [float(row["train_error"]) for row in rows] == [
        read_result(run).errors.train_error for run in study.runs
    ]
    content = write_report(study, [], [])
    error = content["nets"][0]["training error (%)"]
    assert "±" in error
    for width, terminal in ((80, False), (80, True), (60, True)):
        console = Console(width=width, force_terminal=terminal, color_system=None)
        print_report(study, content, console)
        output = capsys.readouterr().out
        others = [line for line in output.splitlines() if str(tmp_path) not in line]
        assert max(map(len, others)) <= width
        assert error in output
        assert "the paper" not in output
        assert f"report: {study.folder / 'report.html'} (or .md)\n" in output


def test_a_report_on_a_single_seed_says_so(tmp_path: Path) -> None:
    study = study_of(tmp_path)
    run_study(study, quiet())
    for name in ("report.md", "report.html"):
        assert "One seed: the spread over seeds is not known." in (study.folder / name).read_text()
