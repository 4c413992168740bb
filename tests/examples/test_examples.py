"""The examples compute what their documentation says."""

from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch

from resnet_degradation.api.run import train
from resnet_degradation.config.architectures import Family
from resnet_degradation.examples import highway, multigrid, unadd, vlad
from resnet_degradation.nets.resnet import ResNet
from resnet_degradation.records.run_folder import read_config


def test_residual_descriptors_are_sums_of_differences_from_the_words() -> None:
    rng = np.random.default_rng(0)
    patches, words = rng.standard_normal((3, 5, 16)), rng.standard_normal((2, 16))
    for residual in (False, True):
        described = vlad.describe(patches, words, residual)
        literal = np.zeros((3, 2, 16))
        for image in range(3):
            for patch in patches[image]:
                word = int(np.argmin(((patch - words) ** 2).sum(axis=1)))
                literal[image, word] += patch - (words[word] if residual else 0)
        literal = np.sign(literal) * np.sqrt(np.abs(literal))
        literal = literal.reshape(3, 32)
        literal /= np.linalg.norm(literal, axis=1, keepdims=True)
        np.testing.assert_allclose(described, literal)


def test_precision_is_that_of_the_nearest_descriptors() -> None:
    labels = np.arange(1797) % 10
    perfect = np.eye(10)[labels]
    assert vlad.precision(perfect, labels) == 100
    assert vlad.precision(np.eye(10)[(labels + (np.arange(1797) < 1437)) % 10], labels) == 0


def test_few_words_are_better_with_residuals() -> None:
    vectors, residuals = vlad.measure(4, seed=0)
    assert residuals > vectors + 1


def test_two_grids_converge_where_relaxation_stalls(tmp_path: Path) -> None:
    f = np.random.default_rng(1).standard_normal(multigrid.NUM_POINTS)
    exact = multigrid.solve_exactly(f)
    np.testing.assert_allclose(multigrid.apply_operator(exact), f, atol=1e-8)
    np.testing.assert_allclose(multigrid.relax(exact, f, 5), exact, atol=1e-10)
    np.testing.assert_allclose(multigrid.two_grid_cycle(exact, f), exact, atol=1e-10)
    curves = multigrid.measure()
    alone, coarse = (shares for _, shares in curves.values())
    assert alone[-1] > 0.9
    assert coarse[-1] < 1e-10
    ratios = [b / a for a, b in pairwise(coarse)]
    assert max(ratios) < 0.2  # every cycle reduces the error by a constant factor
    multigrid.main(tmp_path)
    assert (tmp_path / "multigrid.png").is_file()


def test_the_matrix_is_that_of_the_second_derivative() -> None:
    x = np.arange(1, multigrid.NUM_POINTS + 1) / (multigrid.NUM_POINTS + 1)
    u = np.sin(np.pi * x)
    assert multigrid.apply_operator(u) == pytest.approx(-(np.pi**2) * u, rel=1e-3)


def test_a_highway_block_mixes_branch_and_shortcut_by_its_gate(tmp_path: Path) -> None:
    block = highway.Highway(4, 4, 1, True, "A").eval()
    x = torch.randn(2, 4, 8, 8)
    with torch.no_grad():
        share = block.gate(x)
        assert 0 < float(share.min()) < float(share.max()) < 1
        assert torch.equal(block(x), (share * block.branch(x) + (1 - share) * x).relu())
        block.gate_layer.bias.fill_(-100)
        assert torch.equal(block(x), x.relu())
    tiny = ("width=0.25", "data.image_size=8", "recipe.iterations=2", "recipe.batch_size=8",
            "recipe.pad=1", "runtime.num_threads=1", f"output_dir={tmp_path}")  # fmt: skip
    run = train(tiny, depth=8, block=f"{highway.__name__}:Highway", quiet=True)
    gates = highway.mean_gates(run.folder)
    assert len(gates) == 3
    assert all(0 < gate < 1 for gate in gates)
    assert len(highway.plot({8: gates}).axes[0].lines) == 2


@pytest.mark.parametrize("family", ["cifar", "imagenet"])
def test_a_residual_net_computes_what_a_plain_net_computes(family: Family) -> None:
    torch.manual_seed(0)
    plain = ResNet(14 if family == "cifar" else 18, False, family=family, width=0.25)
    for norm in plain.modules():  # like after training: no value is the initial one
        if isinstance(norm, torch.nn.BatchNorm2d):
            for values in (norm.weight, norm.bias, norm.running_mean):
                torch.nn.init.normal_(values)  # type: ignore[arg-type]
            torch.nn.init.uniform_(norm.running_var, 0.5, 2.0)  # type: ignore[arg-type]
    images = torch.randn(8, 3, 32, 32)
    twin = unadd.make_residual_twin(plain.eval(), width=0.25)
    same = unadd.make_residual_twin(plain, width=0.25)
    unadd.recompute_statistics(same, images)
    difference, largest = unadd.largest_difference(plain, same, images)
    assert difference < 1e-4 * largest
    # Now the running statistics, which evaluation mode uses, are those of the batches.
    assert unadd.largest_difference(plain, same.train(), images)[0] < 1e-3 * largest
    assert all(block.residual for block in twin.blocks().values())
    difference, largest = unadd.largest_difference(plain, twin, images)
    assert difference < 1e-4 * largest
    for block in twin.blocks().values():
        assert isinstance(block, unadd.WideInside)
        with torch.no_grad():  # without the subtraction, x is added
            block.conv2.weight[:, block.bn2.num_features :] = 0
    assert unadd.largest_difference(plain, twin, images)[0] > 0.1 * largest


@pytest.mark.slow
def test_the_residual_twin_is_trained_from_both_starts(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    tiny = ("width=0.25", "data.image_size=8", "recipe.iterations=2", "recipe.batch_size=8",
            "recipe.pad=1", "runtime.num_threads=1", f"output_dir={tmp_path}")  # fmt: skip
    unadd.main("depth=8", *tiny, training=True)
    said = capsys.readouterr().out
    assert "plain, trained again: final training error" in said
    assert (tmp_path / "examples/unadd-seed0.png").is_file()
    twins = [read_config(folder) for folder in tmp_path.glob("digits/*WideInside*")]
    assert sorted(Path(twin.weights or "none").name for twin in twins) == ["none", "twin.pt"]
