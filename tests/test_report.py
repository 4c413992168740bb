"""The report says what came out, beside the paper's values, and under which conditions."""

import csv
import re
from pathlib import Path

import pytest
from helpers import composed_study, quiet, study_of
from rich.console import Console

from resnet_degradation import paper
from resnet_degradation.config import Config, run_folder
from resnet_degradation.runs import FinalErrors, read_final_errors
from resnet_degradation.study.report import net_rows, print_report, write_report
from resnet_degradation.study.results import Result, read_result
from resnet_degradation.study.run import run_study


def only(name: str, *overrides: str) -> dict[str, Config]:
    from resnet_degradation.config import net_name

    return {net_name(run): run for run in composed_study(f"study={name}", *overrides).runs}


def test_the_papers_values_are_those_of_its_tables() -> None:
    cifar = {**only("fig6"), **only("fig6-1202")}
    told = {name: paper.reference(run) for name, run in cifar.items()}
    assert {name: ref.error for name, ref in told.items() if ref is not None} == {
        "ResNet-20": 8.75,
        "ResNet-32": 7.51,
        "ResNet-44": 7.17,
        "ResNet-56": 6.97,
        "ResNet-110": 6.61,
        "ResNet-1202": 7.93,
    }
    assert str(told["ResNet-110"]) == "6.61 ± 0.16"
    imagenet = {**only("fig4"), **only("table3")}
    assert {name: str(paper.reference(run)) for name, run in imagenet.items()} == {
        "plain-18": "27.94",
        "plain-34": "28.54",
        "ResNet-18": "27.88",
        "ResNet-34": "25.03",
        "ResNet-34-B": "24.52",
        "ResNet-34-C": "24.19",
    }
    assert paper.reference(only("quick", "width=2")["ResNet-20-width2"]) is None
    assert paper.reference(only("quick", "shortcut=B")["ResNet-20-B"]) is None


@pytest.mark.parametrize("name", ["fig1", "fig6-1202", "fig4", "table3"])
def test_the_studies_of_the_paper_are_by_the_papers_recipe(name: str) -> None:
    for run in composed_study(f"study={name}").runs:
        assert paper.differences(run) == []


@pytest.mark.parametrize(
    ("override", "told"),
    [
        ("recipe.iterations=2000", "iterations 2000"),
        ("recipe.lr=0.05", "lr 0.05"),
        ("recipe.milestones=[0.4,0.8]", "milestones [0.4, 0.8]"),
        ("recipe.warmup=always", "warmup always"),
        ("recipe.mirror=false", "mirror False"),
        ("data.validation_fraction=0.1", "10% of the training set held out"),
        ("data.mean=channel", "mean per channel"),
        ("runtime.precision=bf16", "precision bf16"),
        ("data.image_size=64", "images of 64"),
    ],
)
def test_every_departure_from_the_papers_recipe_is_named(override: str, told: str) -> None:
    run = only("fig6", override)["ResNet-56"]
    assert told in paper.differences(run)


def test_what_changes_no_result_is_no_departure() -> None:
    run = only(
        *("fig6", "runtime.log_every=7", "recipe.warmup_window=20", "data.root=/elsewhere"),
        "recipe.milestones=[32000,48000]",
    )
    assert paper.differences(run["ResNet-110"]) == []


def result(config: Config, error: float) -> Result:
    return Result(
        config, Path(), FinalErrors(1.0, None, error, 50_000), 1, 1, 64_000, 1.0, 10, False, 1.0, {}
    )


def test_the_papers_value_is_never_beside_other_conditions_without_saying_so() -> None:
    same = [result(run, 8.0) for run in only("fig6").values()]
    rows, notes = net_rows(same)
    assert not notes
    assert {row.name: row.paper for row in rows}["ResNet-20"] == "8.75 (Table 6)"
    assert {row.name: row.paper for row in rows}["plain-20"] == "-"
    other = [result(run, 8.0) for run in only("fig6", "data=folder", "data.root=/jpeg").values()]
    rows, notes = net_rows(other)
    assert {row.name: row.paper for row in rows}["ResNet-20"] == "8.75 (Table 6)†"
    assert notes == [
        "† Not comparable: the paper's error is on CIFAR-10's test images by its own recipe; here: "
        "data jpeg."
    ]
    # A single view is not the ten of the paper's Tables 2 and 3.
    rows, notes = net_rows([result(run, 30.0) for run in only("fig4").values()])
    assert all(row.paper.endswith("†") for row in rows)
    assert "ten-crop" in notes[0]


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
            assert run_folder(run).name in text
        assert "resnet-study study=quick &#39;seeds=[0,1]&#39;" in text.replace("'", "&#39;")
        assert "digits 8x8; 6 iterations of 32 images" in text
        assert "ResNet-14-width0.5 minus plain-14-width0.5:" in text
        for part in ("torch:", "num_cpus:", "weight_decay:", f"{parameters:,}", "±"):
            assert part in text
    # Figures, styles and scripts are inside; nothing is fetched.
    assert not re.findall(r"""(?:src|href|srcset)=["']?(?:https?:)?//""", page)
    assert "@import" not in page
    assert page.count("data:image/svg+xml;base64,") == 2
    with (study.folder / "results.csv").open(newline="") as stream:
        rows = list(csv.DictReader(stream))
    assert [float(row["train_error"]) for row in rows] == [
        read_result(run).train_error for run in study.runs
    ]
    print_report(write_report(study, [], []), Console(width=80))
    told = capsys.readouterr().out
    assert max(map(len, (line for line in told.splitlines() if str(tmp_path) not in line))) <= 80
    assert "the paper" not in told


def test_a_single_seed_is_said_to_be_one(tmp_path: Path) -> None:
    study = study_of(tmp_path)
    run_study(study, quiet())
    for name in ("report.md", "report.html"):
        assert "One seed: the spread over seeds is not known." in (study.folder / name).read_text()
