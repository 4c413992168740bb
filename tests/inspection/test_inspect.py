"""Inspections give the same as literal computations, and do not change the net."""

import warnings
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from rich.console import Console
from support.inspection import run_inspection
from torch import Tensor, nn
from torch.nn import functional as F

from resnet_degradation.config.schema import DEFAULT_MEASUREMENTS, Config, InspectionConfig
from resnet_degradation.console.progress import NullProgress
from resnet_degradation.data.in_memory import MemoryBatches
from resnet_degradation.data.sources.digits import load_digits
from resnet_degradation.figures.inspection import load_measurements, plot_lesions, plot_signals
from resnet_degradation.inspection.command import inspect
from resnet_degradation.inspection.signals import gradient_outcome
from resnet_degradation.inspection.signals import make_finding as make_signals_finding
from resnet_degradation.nets.build import initialize
from resnet_degradation.nets.identity_extension import extend, stage_statistics
from resnet_degradation.nets.resnet import ResNet
from resnet_degradation.probes.layer_stats import layers_with_weights, measure_layer_stats
from resnet_degradation.probes.lesions import (
    bypass_blocks,
    draw_random_blocks,
    measure_without_blocks,
    removable_blocks,
)
from resnet_degradation.probes.residual_norms import measure_residual_norms
from resnet_degradation.records.layers import (
    LayerStats,
    LesionRow,
    ResidualNorms,
    Response,
    read_inspection,
    read_layer_stats,
    read_responses,
    write_inspection,
)
from resnet_degradation.system.errors import UserError


def digits(count: int, first: int = 0) -> tuple[Tensor, Tensor]:
    train: Any = load_digits(16).train
    part = slice(first, first + count)
    return train.images[part] / 255 - 0.3, train.labels[part]


def trained_net(depth: int, residual: bool, **options: Any) -> ResNet:
    """A small net after some steps, so that nothing in it is at its initial value."""
    net = ResNet(depth, residual, family="cifar", width=0.5, **options)
    initialize(net, 0)
    optimizer = torch.optim.SGD(net.parameters(), lr=0.02, momentum=0.9)
    for step in range(8):
        images, labels = digits(32, 32 * step)
        optimizer.zero_grad()
        F.cross_entropy(net(images), labels).backward()
        optimizer.step()
    return net


def state(net: nn.Module) -> dict[str, Tensor]:
    own = {name: value.clone() for name, value in net.state_dict().items()}
    gradients = {
        f"{n}.grad": p.grad.clone() for n, p in net.named_parameters() if p.grad is not None
    }
    return own | gradients


def assert_untouched(net: nn.Module, before: dict[str, Tensor], training: bool) -> None:
    after = state(net)
    assert after.keys() == before.keys()
    for name, value in after.items():
        assert torch.equal(value, before[name]), name
    assert net.training == training
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in net.modules())


# --- signals and gradients ---


@pytest.mark.parametrize("residual", [False, True])
@pytest.mark.parametrize("training", [False, True])
def test_signals_match_a_forward_pass_written_by_hand(residual: bool, training: bool) -> None:
    net = trained_net(14, residual).train(training)
    images, labels = digits(40, 700)
    before = state(net)
    signals = measure_layer_stats(net, images, labels, 0)
    assert_untouched(net, before, training)

    outputs: dict[str, Tensor] = {}

    def batch_norm(x: Tensor, norm: nn.BatchNorm2d) -> Tensor:
        mean, var = x.mean(dim=(0, 2, 3)), x.var(dim=(0, 2, 3), correction=0)
        scaled = (x - mean[:, None, None]) / (var[:, None, None] + norm.eps).sqrt()
        return scaled * norm.weight[:, None, None] + norm.bias[:, None, None]

    def conv(name: str, layer: nn.Conv2d, x: Tensor) -> Tensor:
        outputs[name] = F.conv2d(x, layer.weight, stride=layer.stride, padding=layer.padding)
        return outputs[name]

    x = F.relu(batch_norm(conv("conv1", net.conv1, images), net.bn1))
    for name, block in net.blocks().items():
        b: Any = block
        out = F.relu(batch_norm(conv(f"{name}.conv1", b.conv1, x), b.bn1))
        out = batch_norm(conv(f"{name}.conv2", b.conv2, out), b.bn2)
        if residual:
            channels = out.shape[1] - x.shape[1]
            stride = 2 if channels else 1
            padding = torch.zeros(len(x), channels, *out.shape[2:])
            out = out + torch.cat([x[:, :, ::stride, ::stride], padding], dim=1)
        x = F.relu(out)
    outputs["fc"] = net.fc(x.mean(dim=(2, 3)))
    loss = F.cross_entropy(outputs["fc"], labels)
    layers = layers_with_weights(net)
    gradients = torch.autograd.grad(loss, [layer.weight for layer in layers.values()])
    assert [s.name for s in signals] == list(outputs)
    assert [s.layer for s in signals] == list(range(1, 15))  # one per weighted layer
    for signal, layer, gradient in zip(signals, layers.values(), gradients, strict=True):
        std = outputs[signal.name].std(correction=0)
        assert signal.signal_std == pytest.approx(std.item(), rel=1e-4)
        assert signal.gradient_norm == pytest.approx(float(gradient.norm()), rel=1e-3)
        assert signal.weight_norm == pytest.approx(layer.weight.norm().item(), rel=1e-6)


def test_signals_do_not_depend_on_how_a_net_is_computed() -> None:
    net = trained_net(14, True)
    images, labels = digits(40)
    usual = measure_layer_stats(net, images, labels, 0)
    net.segment_lengths = [1, 2, 1]
    before = state(net)
    assert measure_layer_stats(net, images, labels, 0) == usual
    assert_untouched(net, before, training=True)


# --- residual sizes ---


def test_sizes_are_those_of_both_summands() -> None:
    net = trained_net(14, True, shortcut="B").train()
    images, _ = digits(30)
    before = state(net)
    sizes = measure_residual_norms(net, [images[:20], images[20:]])
    assert_untouched(net, before, training=True)
    net.eval()
    with torch.no_grad():
        x = F.relu(net.bn1(net.conv1(images)))
        for size, (name, block) in zip(sizes, net.blocks().items(), strict=True):
            b: Any = block
            branch = b.bn2(b.conv2(F.relu(b.bn1(b.conv1(x)))))
            shortcut = x if b.downsample is None else b.downsample(x)
            norms = [part.flatten(1).norm(dim=1) for part in (branch, shortcut)]
            assert size.name == name
            assert size.branch == pytest.approx(float(norms[0].mean()), rel=1e-4)
            assert size.shortcut == pytest.approx(float(norms[1].mean()), rel=1e-4)
            assert size.ratio == pytest.approx(float((norms[0] / norms[1]).mean()), rel=1e-4)
            assert size.is_identity == (b.downsample is None)
            x = F.relu(branch + shortcut)
    assert [size.is_identity for size in sizes] == [True, True, False, True, False, True]


def test_plain_nets_have_no_two_summands() -> None:
    assert measure_residual_norms(trained_net(8, False), [digits(4)[0]]) == []


# --- lesions ---


@pytest.mark.parametrize("residual", [False, True])
def test_without_a_block_its_shortcut_remains(residual: bool) -> None:
    net = trained_net(14, residual).eval()
    images, _ = digits(10)
    before = state(net)
    whole = net(images)
    for name in removable_blocks(net):
        maps = F.relu(net.bn1(net.conv1(images)))
        for other, block in net.blocks().items():
            if other != name:
                maps = block(maps)
            elif residual:
                maps = F.relu(block.shortcut(maps))  # without F(x)
        literal = net.fc(maps.mean(dim=(2, 3)))
        with bypass_blocks([net.blocks()[name]]):
            assert torch.equal(net(images), literal)
        assert not torch.equal(literal, whole)
    assert torch.equal(net(images), whole)
    assert_untouched(net, before, training=False)


def test_plain_blocks_that_change_the_shape_cannot_be_left_out() -> None:
    plain, residual = trained_net(14, False), trained_net(14, True)
    assert list(removable_blocks(residual)) == list(residual.blocks())
    assert list(removable_blocks(plain)) == ["layer1.0", "layer1.1", "layer2.1", "layer3.1"]


def test_lesions_measure_the_net_that_is_left() -> None:
    net = trained_net(14, True).eval()
    images, labels = digits(100)

    def error() -> float:
        return 100 * float((net(images).argmax(dim=1) != labels).float().mean())

    with bypass_blocks([net.blocks()["layer2.0"]]):
        literal = error()
    assert measure_without_blocks(net, ["layer2.0"], error) == literal != error()
    assert draw_random_blocks(net, 2, 5, seed=1) != draw_random_blocks(net, 2, 5, seed=0)
    several = draw_random_blocks(net, count=2, draws=5, seed=0)
    assert several == draw_random_blocks(net, count=2, draws=5, seed=0)
    assert len(set(map(tuple, several))) > 1
    for names in several:
        assert len(set(names)) == 2
        with bypass_blocks(net.blocks()[name] for name in names):
            literal = error()
        assert measure_without_blocks(net, names, error) == literal


def test_plain_and_residual_nets_lose_the_same_blocks_at_random() -> None:
    plain, residual = (draw_random_blocks(trained_net(14, r), 2, 6, 0) for r in (False, True))
    assert plain == residual


# --- the constructed solution ---


def test_a_deeper_net_can_compute_what_a_shallower_one_does() -> None:
    shallow = trained_net(8, False)
    deep = ResNet(20, False, family="cifar", width=0.5)
    initialize(deep, 1)
    batches = [digits(64, 64 * i)[0] for i in range(20)]
    before = state(shallow)
    extend(shallow, deep, batches)
    assert_untouched(shallow, before, training=True)
    images, _ = digits(157, 1280)
    torch.testing.assert_close(deep.eval()(images), shallow.eval()(images), atol=1e-5, rtol=1e-5)
    # In training mode, the added layers see each batch's own statistics.
    train_images = torch.cat(batches)
    apart = (deep.train()(train_images) - shallow.train()(train_images)).abs().max()
    assert float(apart.detach()) < 0.2 * float(shallow(train_images).std().detach())


def test_stage_statistics_are_those_of_the_maps_in_training_mode() -> None:
    net = trained_net(8, False)
    images, _ = digits(60)
    (mean, var), *_ = stage_statistics(net, [images[:30], images[30:]])
    halves = [net.train().layer1(F.relu(net.bn1(net.conv1(h))))
              for h in (images[:30], images[30:])]  # fmt: skip
    torch.testing.assert_close(mean, sum(h.mean(dim=(0, 2, 3)) for h in halves) / 2)
    torch.testing.assert_close(var, sum(h.var(dim=(0, 2, 3), correction=0) for h in halves) / 2)


# --- resnet-inspect ---


def content(folder: Path) -> dict[str, bytes]:
    files = (file for file in folder.rglob("*") if file.is_file())
    return {str(file.relative_to(folder)): file.read_bytes() for file in files}


@pytest.mark.long
def test_several_runs_are_inspected_and_left_as_they_were(
    tmp_path: Path, tiny: Callable[..., Config], train_run: Callable[[Config], Path]
) -> None:
    runs = [
        train_run(tiny(f"depth={depth}", f"residual={residual}", "runtime.signals_every=6"))
        for depth, residual in ((8, "false"), (14, "true"))
    ]
    before = [content(run) for run in runs]
    where = run_inspection(*runs, output_dir=tmp_path / "outputs", images=50, draws=2)
    for run, files in zip(runs, before, strict=True):
        after = {name: data for name, data in content(run).items() if "inspection/" not in name}
        assert after == files
    assert {file.name for file in where.iterdir()} == {
        *(f"{what}.{end}" for what in DEFAULT_MEASUREMENTS for end in ("png", "svg", "pdf")),
        "report.md", "index.html",
    }  # fmt: skip
    report = (where / "report.md").read_text()
    assert "Held-out error without one block" in report
    signals = read_inspection(runs[1], "signals", LayerStats)
    assert sorted({row.iteration for row in signals}) == [0, 6, 12]
    recorded = read_layer_stats(runs[1])[12]
    now = [row.gradient_norm for row in signals if row.iteration == 12]
    assert now == pytest.approx([signal.gradient_norm for signal in recorded], rel=1e-4)
    assert len(read_inspection(runs[1], "residuals", ResidualNorms)) == 6
    assert read_inspection(runs[0], "residuals", ResidualNorms) == []
    lesions = read_inspection(runs[1], "lesions", LesionRow)
    assert [row.position for row in lesions if row.position] == [1, 2, 3, 4, 5, 6]
    assert [row.count for row in lesions if not row.position] == [0, 1, 1, 2, 2, 4, 4]


def test_the_responses_of_all_held_out_images_are_those_that_the_run_recorded(
    tmp_path: Path, tiny: Callable[..., Config], train_run: Callable[[Config], Path]
) -> None:
    run = train_run(tiny())
    where = run_inspection(run, output_dir=tmp_path, images=10_000, what=["responses"])
    assert where == run / "inspection"
    measured = read_inspection(run, "responses", Response)
    recorded = read_responses(run)
    assert [row.name for row in measured] == [row.name for row in recorded]
    assert [r.std for r in measured] == pytest.approx([r.std for r in recorded], rel=1e-4)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"run": None}, "set run to the folder"),
        ({"run": 3}, "set run to the folder"),
        ({"run": "nowhere"}, "no run in nowhere"),
        ({"what": ["dreams"]}, "what=dreams is not valid: choose from responses, signals"),
        ({"images": 0}, "at least 1"),
    ],
)
def test_an_inspection_that_cannot_run_is_an_error(
    tmp_path: Path,
    tiny: Callable[..., Config],
    train_run: Callable[[Config], Path],
    changes: dict[str, Any],
    message: str,
) -> None:
    asked = InspectionConfig(run=str(train_run(tiny("recipe.iterations=2"))))
    with pytest.raises(UserError, match=message):
        inspect(replace(asked, **changes), Console(quiet=True), NullProgress())


def test_tables_that_cannot_be_written_are_an_error_before_measuring(
    tiny: Callable[..., Config], train_run: Callable[[Config], Path]
) -> None:
    folder = train_run(tiny("recipe.iterations=2"))
    (folder / "inspection").write_text("")
    with pytest.raises(UserError, match=r"cannot be written .*: copy the folder"):
        inspect(InspectionConfig(run=str(folder)), Console(quiet=True), NullProgress())


def test_a_net_without_identity_shortcuts_is_inspected(
    tmp_path: Path, tiny: Callable[..., Config], train_run: Callable[[Config], Path]
) -> None:
    runs = [train_run(tiny(f"shortcut={option}", "recipe.iterations=2")) for option in ("A", "C")]
    where = run_inspection(*runs, output_dir=tmp_path, images=20, what=["residuals"])
    report = (where / "report.md").read_text()
    assert "in ResNet-8-C-width0.5 (no identity shortcuts)" in report
    assert "| ResNet-8-C-width0.5 | - | - | - | 0/0 |" in report


def test_only_requested_measurements_are_read_and_reported_once(
    tmp_path: Path,
    tiny: Callable[..., Config],
    train_run: Callable[[Config], Path],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    run = train_run(tiny("recipe.iterations=2"))
    asked_for: list[str] = []
    usual = MemoryBatches.held_out
    monkeypatch.setattr(
        MemoryBatches, "held_out", lambda b, split: (asked_for.append(split), usual(b, split))[1]
    )
    where = run_inspection(run, output_dir=tmp_path, what=["signals", "signals"])
    assert not asked_for
    report = (where / "report.md").read_text()
    assert report.count("](signals.png)") == 1
    assert "after 2 iterations" in report


def dead_net(bias: float) -> ResNet:
    """A plain net whose last ReLU gives the same for every image: `bias`, or 0 if it is below."""
    net = trained_net(8, False)
    last: Any = list(net.blocks().values())[-1]
    nn.init.zeros_(last.bn2.weight)
    nn.init.constant_(last.bn2.bias, bias)
    return net


def rescaled_net(first: int, end: int) -> ResNet:
    """A plain net with some convolutions' weights 1e5 times larger.

    Batch normalization takes the factor out again; their gradients get 1e5 times smaller.
    """
    net = trained_net(14, False)
    for layer in list(layers_with_weights(net).values())[first:end]:
        layer.weight.data *= 1e5
    return net


def untrained_net(depth: int) -> ResNet:
    """A plain net with its initial weights."""
    net = ResNet(depth, False, family="cifar", width=0.25)
    initialize(net, 0)
    return net


@pytest.mark.parametrize(
    ("made", "outcome"),
    [
        (lambda: dead_net(-1.0), "dead"),  # no gradient passes the last ReLU: all are zero
        (lambda: dead_net(1.0), "dead"),  # only the classifier has a gradient
        (lambda: rescaled_net(0, 1), "vanished"),
        (lambda: rescaled_net(0, 9), "vanished"),  # in most layers, and so in the median layer
        (lambda: rescaled_net(9, 13), "exploding"),
        (lambda: untrained_net(110), "exploding"),  # gradients grow in the backward pass
        (lambda: untrained_net(20), "healthy"),
        (lambda: trained_net(14, False), "healthy"),
        (lambda: trained_net(14, True), "healthy"),
    ],
)
def test_gradients_are_dead_vanished_exploding_or_healthy(
    made: Callable[[], ResNet], outcome: str
) -> None:
    norms = [signal.gradient_norm for signal in measure_layer_stats(made(), *digits(40, 300), 0)]
    assert gradient_outcome(norms) == outcome


def test_gradients_that_are_not_finite_explode() -> None:
    for value in (float("inf"), float("nan")):
        assert gradient_outcome([1.0, value, 1.0, 1.0]) == "exploding"


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda layer, norm: 0.0, "no gradient reaches any convolution"),
        (lambda layer, norm: norm * (layer == 8), "no gradient reaches any convolution"),
        (lambda layer, norm: norm * (layer > 5), "a gradient vanishes"),
        (lambda layer, norm: norm * 10.0 ** (8 - layer), "a gradient explodes"),
        (lambda layer, norm: float("nan"), "a gradient explodes"),
        (lambda layer, norm: norm, "no layer's gradient is 1,000 times smaller"),
    ],
)
def test_a_report_says_how_the_gradients_fare(
    tmp_path: Path,
    tiny: Callable[..., Config],
    train_run: Callable[[Config], Path],
    change: Callable[[int, float], float],
    said: str,
) -> None:
    run = train_run(tiny("recipe.iterations=2"))
    run_inspection(run, output_dir=tmp_path, what=["signals"])
    rows = read_inspection(run, "signals", LayerStats)
    changed = [
        replace(row, gradient_norm=change(row.layer, row.gradient_norm)) if row.iteration else row
        for row in rows
    ]
    write_inspection(run, "signals", changed, LayerStats)
    finding = make_signals_finding(load_measurements([run], "signals", LayerStats))
    others = ("no gradient reaches", "a gradient vanishes", "a gradient explodes", "no layer's")
    assert [part for part in others if part in finding.sentence] == [
        part for part in others if said.startswith(part)
    ]
    assert said in finding.sentence
    assert "at the beginning:" not in finding.sentence
    assert "nan" not in finding.sentence + " ".join(finding.rows[1])
    plot_signals(load_measurements([run], "signals", LayerStats))


def test_a_dead_seed_among_others_is_named(
    tmp_path: Path, tiny: Callable[..., Config], train_run: Callable[[Config], Path]
) -> None:
    runs = [train_run(tiny("recipe.iterations=2", f"seed={seed}")) for seed in (0, 1)]
    run_inspection(*runs, output_dir=tmp_path, what=["signals"])
    rows = [
        replace(row, gradient_norm=0.0) for row in read_inspection(runs[1], "signals", LayerStats)
    ]
    write_inspection(runs[1], "signals", rows, LayerStats)
    finding = make_signals_finding(load_measurements(runs, "signals", LayerStats))
    assert "at the end (1 of 2 seeds): no gradient reaches" in finding.sentence


def test_a_layer_without_a_gradient_is_reported_as_vanished(
    tmp_path: Path, tiny: Callable[..., Config], train_run: Callable[[Config], Path]
) -> None:
    run = train_run(tiny("recipe.iterations=2"))
    run_inspection(run, output_dir=tmp_path, what=["signals"])
    for dead in ({3}, {8}, {7, 8}, set(range(1, 9))):
        rows = [
            replace(row, gradient_norm=0.0) if row.layer in dead and row.iteration else row
            for row in read_inspection(run, "signals", LayerStats)
        ]
        write_inspection(run, "signals", rows, LayerStats)
        finding = make_signals_finding(load_measurements([run], "signals", LayerStats))
        assert ("vanishes" in finding.sentence) == (len(dead) < 8)


def test_part_of_the_blocks_is_drawn_where_it_is_in_the_net(
    tmp_path: Path, tiny: Callable[..., Config], train_run: Callable[[Config], Path]
) -> None:
    run = train_run(tiny("depth=20", "recipe.iterations=2"))
    run_inspection(run, output_dir=tmp_path, images=20, max_blocks=3, draws=1, what=["lesions"])
    figure = plot_lesions(load_measurements([run], "lesions", LesionRow))
    (line,) = [
        line for line in figure.axes[0].get_lines() if line.get_label() == "ResNet-20-width0.5"
    ]
    assert list(line.get_xdata()) == pytest.approx([50 / 9, 350 / 9, 650 / 9])  # type: ignore[arg-type]
    caption = " ".join(" ".join(text.get_text() for text in figure.texts).split())
    assert "dashed: the whole net; a removed residual block keeps its shortcut" in caption


def test_a_net_whose_beginning_is_unknown_is_drawn_as_it_is_now(
    tmp_path: Path, tiny: Callable[..., Config], train_run: Callable[[Config], Path]
) -> None:
    first = train_run(tiny("recipe.iterations=2"))
    weights = next((first / "checkpoints").iterdir())
    warm = train_run(tiny("recipe.iterations=2", f"weights={weights}"))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        run_inspection(warm, output_dir=tmp_path, what=["signals"])
        run_inspection(first, output_dir=tmp_path, what=["signals"])
        figure = plot_signals(load_measurements([warm], "signals", LayerStats))
        both = plot_signals(load_measurements([warm, first], "signals", LayerStats))
    assert [axes.get_title() for axes in figure.axes] == ["after 2 iterations", ""]
    assert len(both.axes) == 4
