"""The numbers in the documentation are those of the committed results.

The tables of docs/speed.md are drawn from outputs/reference/bench.

A paragraph or a row of a table that links to a folder of outputs/reference names nets with errors,
as `plain-20 10.4 %` or `plain-20 7.0 ± 1.0 %`. So does a table of nets, whose columns say what they
contain, in a section that names such a folder, by a link or as STUDY=FOLDER.
"""

import csv
import json
import re
from collections import defaultdict
from collections.abc import Iterator
from functools import cache
from itertools import product
from pathlib import Path
from statistics import mean, stdev
from typing import NamedTuple

import busy
import compare
import growth
import operations
import precisions
import pytest
from results import markdown

import resnet_degradation
from resnet_degradation.config.identity import net_name
from resnet_degradation.records.metrics import read_metrics
from resnet_degradation.records.run_folder import find_runs, read_config
from resnet_degradation.records.summary import read_final_errors

ROOT = Path(__file__).parents[2]
REFERENCE = ROOT / "outputs/reference"
DOCUMENTS = ("README.md", "docs/results.md")
ERRORS = {"training": "train_error", "validation": "val_error", "test": "test_error"}
LINKED, STUDY = r"outputs/reference/([\w.-]+)/", r"STUDY=([\w-]+)"
NET = r"((?:plain|ResNet)-\d+)"
NUMBER = r"\**(\d+(?:\.\d+)?)(?: ± (\d+(?:\.\d+)?))?\**"


class Claim(NamedTuple):
    """A mean, and the standard deviation over seeds if there is one, both as text."""

    net: str
    places: tuple[
        tuple[str, str], ...
    ]  # folders and columns of results.csv, one of which has the value
    mean: str
    std: str | None


def folders(pattern: str, text: str) -> set[str]:
    """The folders of committed results that the text names."""
    return {
        name for name in re.findall(pattern, text) if (REFERENCE / name / "results.csv").exists()
    }


def claims(text: str) -> Iterator[Claim]:
    """The statements of a document about committed results."""
    for section in re.split(r"^(?=#)", text, flags=re.MULTILINE):
        named = folders(LINKED, section) or folders(STUDY, section)
        header = ""
        for block in re.split(r"\n\n|\n(?=\|)", section):
            if not block.startswith("|"):
                header = ""
            elif not header:
                header = block
            found = [*errors_in_text(block), *errors_in_row(header, block, named)]
            assert found or "error" not in header or not folders(LINKED, block), block
            yield from found


def errors_in_text(block: str) -> Iterator[Claim]:
    if places := tuple(product(folders(LINKED, block), ERRORS.values())):
        for net, average, std in re.findall(rf"\b{NET} {NUMBER} %", block):
            yield Claim(net, places, average, std or None)


def errors_in_row(header: str, row: str, named: set[str]) -> Iterator[Claim]:
    if not (net := re.match(rf"\| {NET} \|", row)) or not named:
        return
    for title, cell in zip(header.split("|"), row.split("|"), strict=True):
        error = re.fullmatch(r" (\w+) error \(%\) ", title)
        if error and (number := re.fullmatch(rf" {NUMBER} ", cell)):
            yield Claim(net[1], tuple(product(named, [ERRORS[error[1]]])), number[1], number[2])


@cache
def results(folder: str, net: str, column: str) -> list[float]:
    """The values of a net, of all seeds. The names of narrow nets go on: plain-18-width0.125."""
    values = defaultdict(list)
    with (REFERENCE / folder / "results.csv").open(encoding="utf-8", newline="") as stream:
        for row in csv.DictReader(stream):
            if re.fullmatch(rf"{net}(\W.*)?", row["net"]) and row[column]:
                values[row["net"]].append(float(row[column]))
    assert len(values) < 2, f"{net} may be any of {', '.join(values)} in {folder}"
    return next(iter(values.values()), [])


def is_true(claim: Claim) -> bool:
    """Whether the results, rounded to the digits of the document, agree with it."""

    def equals(written: str, value: float) -> bool:
        return f"{value:.{len(written.partition('.')[2])}f}" == written

    every = [results(folder, claim.net, column) for folder, column in claim.places]
    return any(
        equals(claim.mean, mean(values)) and (claim.std is None or equals(claim.std, stdev(values)))
        for values in every
        if len(values) > (claim.std is not None)
    )


@pytest.mark.parametrize("document", DOCUMENTS)
def test_errors_are_those_of_the_committed_results(document: str) -> None:
    found = list(claims((ROOT / document).read_text("utf-8")))
    assert len(found) >= 8
    assert [claim for claim in found if not is_true(claim)] == []


@pytest.mark.parametrize("document", DOCUMENTS)
def test_every_changed_digit_is_noticed(document: str) -> None:
    text = (ROOT / document).read_text("utf-8")
    numbers = {number for claim in claims(text) for number in (claim.mean, claim.std) if number}
    for number in numbers:
        changed = f"{number[:-1]}{(int(number[-1]) + 1) % 10}"
        assert not all(is_true(claim) for claim in claims(text.replace(number, changed)))


def test_a_number_of_another_folder_is_noticed() -> None:
    text = "plain-20 6.01 ± 2.39 % ([report](outputs/reference/NAME/report.md))"
    (true,) = claims(text.replace("NAME", "quick-seeds"))
    (other,) = claims(text.replace("NAME", "fig6-quarter-cifar10-jpeg"))
    assert [is_true(true), is_true(other)] == [True, False]


def test_committed_results_are_those_of_the_committed_runs() -> None:
    studies = [file.parent for file in sorted(REFERENCE.glob("*/results.csv"))]
    assert len(studies) > 8
    for study in studies:
        with (study / "results.csv").open(encoding="utf-8", newline="") as stream:
            rows = {row["folder"]: row for row in csv.DictReader(stream)}
        runs = {run.name: run for run in find_runs(study)}
        assert rows.keys() == runs.keys()
        for name, run in runs.items():
            assert read_metrics(run)[-1].iteration == int(rows[name]["iterations"])
            assert rows[name]["net"].split(" (")[0] == net_name(read_config(run))
            errors = read_final_errors(run).as_dict()
            assert errors == {
                key: float(rows[name][key]) if rows[name][key] else None for key in errors
            }


TABLES = {
    "bench": compare.table,
    "busy": busy.table,
    "profile": operations.table,
    "growth": growth.table,
    "precisions": precisions.table,
}


def test_the_tables_of_measurements_are_drawn_from_their_numbers() -> None:
    text = (ROOT / "docs/speed.md").read_text("utf-8")
    for name, table_of in TABLES.items():
        file = REFERENCE / f"bench/{name}.md"
        table = markdown(table_of(json.loads(file.with_suffix(".json").read_text("utf-8"))))
        assert table == file.read_text("utf-8")
        assert table in text


def test_a_release_is_described_and_can_be_cited() -> None:
    version = resnet_degradation.__version__
    if ".dev" in version:
        pytest.skip(f"{version} is not released")
    assert f"\n## [{version}] - 2" in (ROOT / "CHANGELOG.md").read_text("utf-8")
    assert f"\nversion: {version}\n" in (ROOT / "CITATION.cff").read_text("utf-8")
