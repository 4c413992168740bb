"""Probes that run only if `what` names them: their tables and findings, and custom probes."""

import math
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from support.inspection import run_inspection

from resnet_degradation.config.schema import OPTIONAL_MEASUREMENTS, Config, InspectionConfig
from resnet_degradation.figures.inspection import load_measurements
from resnet_degradation.figures.seeds import NetRows
from resnet_degradation.figures.sharpness import plot_sharpness
from resnet_degradation.figures.surface import arrange_on_grid, plot_surface
from resnet_degradation.inspection import command, sharpness, surface
from resnet_degradation.inspection.probe import Subject
from resnet_degradation.inspection.registry import PROBES, load_probes
from resnet_degradation.inspection.surface_workers import measure_in_parallel
from resnet_degradation.probes.sharpness import Sharpness
from resnet_degradation.probes.shattering import NUM_POINTS, Correlation
from resnet_degradation.probes.surface import SurfacePoint
from resnet_degradation.records.layers import read_inspection
from resnet_degradation.system.errors import ConfigError, RecordError
from resnet_degradation.training.load_run import load_kept_nets, load_trained_net


@pytest.fixture
def runs(tiny: Callable[..., Config], train_run: Callable[[Config], Path]) -> list[Path]:
    return [train_run(tiny(f"residual={residual}")) for residual in ("false", "true")]


def test_every_further_probe_leaves_a_table_a_figure_and_a_sentence(
    runs: list[Path], tmp_path: Path
) -> None:
    where = run_inspection(
        *runs, output_dir=tmp_path, what=list(OPTIONAL_MEASUREMENTS), images=32, points=3
    )
    report = (where / "report.md").read_text()
    for name in OPTIONAL_MEASUREMENTS:
        assert (where / f"{name}.png").is_file()
        assert f"({name}.png)" in report
    points = read_inspection(runs[0], "surface", SurfacePoint)
    assert [(p.first, p.second) for p in points][::4] == [(-0.5, -0.5), (0, 0), (0.5, 0.5)]
    assert not list((runs[0] / "inspection").glob("*.part.csv"))
    rows = read_inspection(runs[1], "shattering", Correlation)
    assert {row.of for row in rows} == {"initial", "trained", "white noise", "brown noise"}
    assert all(row.correlation == 1 for row in rows if row.distance == 0)
    assert max(row.distance for row in rows) == NUM_POINTS // 2
    measured = read_inspection(runs[0], "sharpness", Sharpness)
    assert [row.iteration for row in measured if row.images] == [0, 12]


def test_the_centre_of_the_surface_is_the_trained_net(runs: list[Path], tmp_path: Path) -> None:
    run_inspection(runs[1], output_dir=tmp_path, what=["surface"], images=32, points=3)
    points = read_inspection(runs[1], "surface", SurfacePoint)
    runtime = InspectionConfig().runtime
    trained = load_trained_net(runs[1], runtime, torch.device("cpu"), num_held_out=32)
    batch_size = trained.config.recipe.batch_size
    count = math.ceil(32 / batch_size)
    batches = list(trained.batches.training(0, count))
    with torch.no_grad():
        wrong = sum(
            int((trained.net(images).argmax(dim=1) != labels).sum()) for images, labels in batches
        )
    assert surface.find_centre(points).error == pytest.approx(100 * wrong / (count * batch_size))
    axis, losses = arrange_on_grid(points, "loss")
    assert axis.tolist() == [-0.5, 0, 0.5]
    assert losses[0, 2] == next(p.loss for p in points if (p.first, p.second) == (-0.5, 0.5))


def test_an_interrupted_surface_resumes(
    runs: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    options: dict[str, Any] = {"what": ["surface"], "images": 32, "points": 3}
    run_inspection(runs[0], output_dir=tmp_path, **options)
    table = runs[0] / "inspection/surface.csv"
    whole = table.read_bytes()
    table.unlink()
    measured = surface.measure_surface
    asked: list[int] = []

    def interrupted(net: Any, batches: Any, points: Any) -> Any:
        asked.append(len(points))
        for number, point in enumerate(measured(net, batches, points)):
            if number == 4 and len(asked) == 1:
                raise KeyboardInterrupt
            yield point

    monkeypatch.setattr(surface, "measure_surface", interrupted)
    with pytest.raises(KeyboardInterrupt):
        run_inspection(runs[0], output_dir=tmp_path, **options)
    part = runs[0] / "inspection/surface.part.csv"
    part.write_bytes(part.read_bytes()[:-7])  # the last row is cut off
    run_inspection(runs[0], output_dir=tmp_path, **options)
    assert asked == [9, 6]
    assert table.read_bytes() == whole
    asked.clear()
    with pytest.raises(KeyboardInterrupt):
        run_inspection(runs[0], output_dir=tmp_path, **options)
    run_inspection(runs[0], output_dir=tmp_path, **options | {"images": 16})
    assert asked == [9, 9]  # other images: nothing of the table is used


@pytest.mark.long
def test_several_processes_measure_the_same_surface(runs: list[Path], tmp_path: Path) -> None:
    runtime = replace(InspectionConfig().runtime, num_threads=1)
    options: dict[str, Any] = {"what": ["surface"], "images": 32, "points": 3, "runtime": runtime}
    run_inspection(runs[1], output_dir=tmp_path, **options)
    table = runs[1] / "inspection/surface.csv"
    alone = table.read_bytes()
    names, first, *others = alone.splitlines(keepends=True)
    recorded = b"-0.5,-0.5,123,50\n"  # from an interrupted run: not to be measured again
    (part := table.with_name("surface.part.csv")).write_bytes(b"12 32 3\n" + names + recorded)
    table.unlink()
    run_inspection(runs[1], output_dir=tmp_path, jobs=2, **options)
    assert table.read_bytes() == names + recorded + b"".join(others)
    assert first != recorded
    assert not part.exists()
    subject = Subject(load_trained_net(runs[1], runtime, torch.device("cpu"), 1),
                      replace(InspectionConfig(), jobs=2), lambda *_: None)  # fmt: skip
    newer = replace(subject, trained=replace(subject.trained, iteration=13))
    with pytest.raises(RecordError, match="was trained further in the meantime"):
        list(measure_in_parallel(newer, [(0.0, 0.0)]))


def test_the_share_of_the_plane_counts_points_near_the_centre() -> None:
    points = [SurfacePoint(a, b, 1.0, 5 + 20 * abs(a) + 20 * abs(b))
              for a in (-0.5, 0.0, 0.5) for b in (-0.5, 0.0, 0.5)]  # fmt: skip
    assert surface.find_centre(points).error == 5
    assert surface.share_near_centre(points) == pytest.approx(100 * 5 / 9)


CUSTOM = """
from dataclasses import dataclass
from resnet_degradation.inspection.probe import Probe

@dataclass(frozen=True)
class Row:
    layer: int
    weights: float

def measure(subject):
    return [Row(i, float(p.numel())) for i, p in enumerate(subject.net.parameters(), 1)]

@dataclass(frozen=True)
class Strings:
    layer: "int"
    weights: "float | None"

@dataclass(frozen=True)
class Lists:
    weights: list

sizes = Probe(Row, measure)
strings = Probe(Strings, lambda subject: [Strings(1, 2.5), Strings(2, None)])
lists = Probe(Lists, measure)
signals = Probe(Row, measure)
no_probe = 3
"""


def test_a_custom_probe_is_measured_drawn_and_reported(
    runs: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "custom_probes.py").write_text(CUSTOM)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    where = run_inspection(*runs, output_dir=tmp_path, what="custom_probes:sizes")
    probe = load_probes(["custom_probes:sizes"])["sizes"]
    (plain, residual) = load_measurements(runs, "sizes", probe.row)
    assert [row.layer for row in plain.seeds[0]] == list(range(1, len(residual.seeds[0]) + 1))
    assert "layer and weights, mean over rows: plain-8" in (where / "report.md").read_text()
    assert (where / "sizes.png").is_file()
    run_inspection(*runs, output_dir=tmp_path, what="custom_probes:strings")
    strings = load_probes(["custom_probes:strings"])["strings"].row
    assert read_inspection(runs[0], "strings", strings) == [strings(1, 2.5), strings(2, None)]
    with pytest.raises(ConfigError, match=r"Lists\.weights is a list: use int, float, str, bool"):
        load_probes(["custom_probes:lists"])
    with pytest.raises(ConfigError, match="another probe is named signals, too"):
        load_probes(["custom_probes:signals"])
    with pytest.raises(ConfigError, match="what=custom_probes:no_probe is a int, not a Probe"):
        load_probes(["custom_probes:no_probe"])


def test_all_names_every_probe() -> None:
    assert command.parse_measurements("all") == list(PROBES)
    assert command.parse_measurements("signals") == ["signals"]
    with pytest.raises(ConfigError, match=r"what=\[\] is not valid"):
        command.parse_measurements([])
    with pytest.raises(ConfigError, match="what=3 is not valid"):
        command.parse_measurements([3])


def test_surfaces_without_finite_or_different_losses_are_drawn() -> None:
    config = Config(family="cifar", shortcut="A")
    for losses in ([math.nan] * 9, [1.0] * 9, [1e-9] * 9, [1e9] * 9, [1.0] * 8 + [math.inf]):
        axis = (-0.5, 0.0, 0.5)
        places = [(a, b) for a in axis for b in axis]
        points = [SurfacePoint(*p, loss, 50.0) for p, loss in zip(places, losses, strict=True)]
        plot_surface([NetRows("net", config, [points])])


def test_a_net_without_known_initial_weights_has_no_initial_sharpness() -> None:
    config = Config(family="cifar", shortcut="A")
    finding = sharpness.make_finding([NetRows("net", config, [[Sharpness(300, 64, 52.0, 380.0)]])])
    assert finding.rows == [["net", "not found", "52", "52", "380", "0/1"]]


def test_sharpness_is_measured_at_kept_checkpoints_beside_the_limit_of_their_rate(
    tiny: Callable[..., Config], train_run: Callable[[Config], Path], tmp_path: Path
) -> None:
    run = train_run(
        tiny("runtime.keep_every=8", "recipe.lr=0.1", "recipe.milestones=[6]", "recipe.momentum=0")
    )
    run_inspection(run, output_dir=tmp_path, what=["sharpness"], images=8)
    rows = read_inspection(run, "sharpness", Sharpness)
    # 2 / rate; the record has a row every 3 iterations, so the rate of 8 is that of row 9
    assert [(row.iteration, round(row.limit)) for row in rows if row.images] == [
        (0, 20), (8, 200), (12, 200)
    ]  # fmt: skip
    assert [(row.iteration, row.limit) for row in rows if not row.images] == [(6, 20)]
    trained = load_trained_net(run, InspectionConfig().runtime, torch.device("cpu"), num_held_out=8)
    kept = dict(load_kept_nets(trained))
    assert list(kept) == [8]
    batch = next(trained.batches.training(0, 1))
    (at_8,) = (row.value for row in rows if row.iteration == 8)
    assert sharpness.measure_sharpness(
        kept[8], [tuple(part[:8] for part in batch)]
    ) == pytest.approx(at_8, rel=1e-4)
    finding = sharpness.make_finding(load_measurements([run], "sharpness", Sharpness))
    assert finding.rows[0][4] == "20 - 200"
    (axes,) = plot_sharpness(load_measurements([run], "sharpness", Sharpness)).axes
    drawn = [list(line.get_xdata()) for line in axes.lines]
    assert drawn == [[0, 8, 12], [0], [0, 6, 8, 12]]


def test_one_image_is_too_few_for_shattering(runs: list[Path], tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="set images to 2 or more"):
        run_inspection(runs[0], output_dir=tmp_path, what=["shattering"], images=1)
