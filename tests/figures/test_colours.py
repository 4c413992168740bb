"""Each net has its own colour, also for colour-blind readers and in grey print."""

from dataclasses import replace
from itertools import combinations
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from omegaconf import DictConfig, OmegaConf

from resnet_degradation.config.resolve import resolve
from resnet_degradation.config.schema import Config, DataConfig, StudyConfig
from resnet_degradation.figures.drawing import panel_shows
from resnet_degradation.figures.style import choose_colours

# Linear RGB as colour-blind viewers see it (Machado et al. 2009, severity 1).
SIGHT = {
    "usual": np.eye(3),
    "protan": [
        [0.152286, 1.052583, -0.204868],
        [0.114503, 0.786281, 0.099216],
        [-0.003882, -0.048116, 1.051998],
    ],
    "deutan": [
        [0.367322, 0.860646, -0.227968],
        [0.280085, 0.672501, 0.047413],
        [-0.011820, 0.042940, 0.968881],
    ],
    "tritan": [
        [1.255528, -0.076749, -0.178779],
        [-0.078411, 0.930809, 0.147602],
        [0.004733, 0.691367, 0.303900],
    ],
}
TO_XYZ = np.array(
    [
        [0.4124564, 0.3575761, 0.1804375],
        [0.2126729, 0.7151522, 0.0721750],
        [0.0193339, 0.1191920, 0.9503041],
    ]
)
STUDIES = Path(__file__).parents[2] / "conf" / "study"


def lab(colour: str, sight: str = "usual") -> NDArray[np.float64]:
    """The CIELAB coordinates (white D65) of a colour, for a kind of colour vision."""
    encoded = np.array([int(colour[i : i + 2], 16) for i in (1, 3, 5)]) / 255
    linear = np.where(encoded <= 0.04045, encoded / 12.92, ((encoded + 0.055) / 1.055) ** 2.4)
    seen = np.clip(np.array(SIGHT[sight]) @ linear, 0, 1)
    xyz = TO_XYZ @ seen / (0.95047, 1, 1.08883)
    root = np.where(xyz > 216 / 24389, np.cbrt(xyz), (24389 / 27 * xyz + 16) / 116)
    x, y, z = root
    return np.array([116 * y - 16, 500 * (x - y), 200 * (y - z)])


def test_white_and_red_have_their_known_coordinates() -> None:
    assert lab("#FFFFFF") == pytest.approx([100, 0, 0], abs=0.02)
    assert lab("#FF0000") == pytest.approx([53.24, 80.09, 67.20], abs=0.02)


def nets_of(study: DictConfig) -> list[Config]:
    """The nets that a study's file lists."""
    nets = [Config(**{"family": study.get("family"), **net}) for net in study.study.nets]
    name = "imagenet" if any(net.depth in (18, 34, 50) for net in nets) else "cifar10"
    return [resolve(replace(net, data=DataConfig(name))) for net in nets]


def panels() -> list[list[Config]]:
    """The nets that the studies draw in one panel, and the four that inspections draw."""
    found = []
    for file in STUDIES.glob("*.yaml"):
        study = OmegaConf.load(file)
        if "nets" in study.get("study", {}):
            nets = nets_of(study)
            found += [[net for net in nets if panel_shows(p, net)] for p in StudyConfig().panels]
            if len(nets) <= 4:
                found.append(nets)
    assert len(found) > 20
    return found


# The smallest distances in CIELAB, and in lightness alone, of the present colours.
@pytest.mark.parametrize(("dark", "distance", "lightness"), [(False, 8.7, 7.7), (True, 6.9, 4.8)])
def test_nets_in_one_panel_look_different_to_all(
    dark: bool, distance: float, lightness: float
) -> None:
    for nets in panels():
        for first, second in combinations(choose_colours(nets, dark), 2):
            for sight in SIGHT:
                apart = np.linalg.norm(lab(first, sight) - lab(second, sight))
                assert apart > distance, (first, second, sight)
            assert abs(lab(first)[0] - lab(second)[0]) > lightness, (first, second)


@pytest.mark.parametrize("dark", [False, True])
def test_a_net_has_the_same_colour_in_every_panel(dark: bool) -> None:
    seen: dict[object, set[str]] = {}
    for nets in panels():
        for net, colour in zip(nets, choose_colours(nets, dark), strict=True):
            # A net of another width has a lighter or darker shade of the same colour.
            if net.width == 1:
                key = (net.family, net.depth, net.residual, net.shortcut, net.extends)
                seen.setdefault(key, set()).add(colour)
    assert len(seen) > 20
    assert all(len(colour) == 1 for colour in seen.values())


def test_plain_nets_are_warm_and_residual_nets_cool() -> None:
    for depth in (8, 20, 26, 56, 110, 152):
        for residual in (False, True):
            net = resolve(Config(depth=depth, residual=residual, data=DataConfig("cifar10")))
            (colour,) = choose_colours([net])
            assert (int(colour[1:3], 16) < int(colour[5:7], 16)) == residual
