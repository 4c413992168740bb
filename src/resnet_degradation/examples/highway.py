"""Compares highway blocks with identity shortcuts, and measures the learned gates.

A gate T(x) between 0 and 1 decides, for each value of the feature maps, how much of F(x) and how
much of x passes: T F + (1 - T) x. Where T is 1, the shortcut is closed.
"""

from pathlib import Path
from statistics import mean
from typing import Any

import torch
from matplotlib import rc_context
from matplotlib.figure import Figure
from torch import Tensor, nn

from resnet_degradation.api.run import train
from resnet_degradation.config.schema import RuntimeConfig
from resnet_degradation.figures.style import rc, save_figure
from resnet_degradation.nets.blocks import BasicBlock
from resnet_degradation.nets.hooks import observe_modules
from resnet_degradation.training.load_run import load_trained_net

DEPTHS = (20, 56)
GATE_BIAS = -1.0  # at first, gates let more of x pass than of F(x)


class Highway(BasicBlock):
    """A basic block whose shortcut has a gate, computed from x by a 1x1 convolution."""

    def __init__(self, in_channels: int, channels: int, stride: int, *arguments: Any) -> None:
        super().__init__(in_channels, channels, stride, *arguments)
        self.gate_layer = nn.Conv2d(in_channels, channels, 1, stride)

    def gate(self, x: Tensor) -> Tensor:
        """T(x) for every value of the block's output."""
        return torch.sigmoid(self.gate_layer(x) + GATE_BIAS)

    def forward(self, x: Tensor) -> Tensor:
        share = self.gate(x)
        return torch.relu(share * self.branch(x) + (1 - share) * self.shortcut(x))


@torch.no_grad()
def mean_gates(folder: Path) -> list[float]:
    """The mean of T over held-out images and values, for each block of a trained net."""
    trained = load_trained_net(folder, RuntimeConfig(), torch.device("cpu"), num_held_out=200)
    gates: dict[str, list[float]] = {name: [] for name in trained.net.blocks()}

    def observe(name: str, x: Tensor, _output: Tensor) -> None:
        block = trained.net.blocks()[name]
        # If this module runs as a program, its name is __main__, but the block's class is from the
        # imported module, so isinstance(block, Highway) would be false.
        gate: Tensor = block.gate(x)  # type: ignore[operator]
        gates[name].append(float(gate.mean()))

    with observe_modules(trained.net, trained.net.blocks(), observe, training=False):
        for images, _ in trained.batches.held_out(next(iter(trained.batches.splits))):
            trained.net(images)
    return [mean(values) for values in gates.values()]


def plot(gates: dict[int, list[float]]) -> Figure:
    """The mean gate of each block."""
    with rc_context(rc()):
        figure = Figure(figsize=(4.6, 3.0))
        axes = figure.subplots()
        for (depth, means), colour in zip(gates.items(), ("#E69F00", "#D55E00"), strict=False):
            places = [(i + 0.5) / len(means) for i in range(len(means))]
            axes.plot(places, means, ".-", color=colour, label=f"{depth} layers")
        axes.axhline(float(torch.sigmoid(torch.tensor(GATE_BIAS))), linestyle=":", color="#555555")
        axes.set(xlabel="blocks, from the images (0) to the logits (1)", ylim=(0, 1))
        axes.set_ylabel("mean gate T (1: shortcut closed)")
        axes.legend()
        figure.subplots_adjust(left=0.13, right=0.97, top=0.95, bottom=0.17)
    return figure


def main(folder: Path = Path("outputs/examples"), *overrides: str) -> None:
    """Train the nets, print their errors and gates, and draw the gates."""
    gates = {}
    for depth in DEPTHS:
        gated = train(overrides, depth=depth, block="resnet_degradation.examples.highway:Highway")
        identity = train(overrides, depth=depth)
        gates[depth] = mean_gates(gated.folder)
        print(
            f"{depth} layers: training error {gated.errors.train_error:.2f} % with gates, "
            f"{identity.errors.train_error:.2f} % with identity shortcuts; mean gate "
            f"{mean(gates[depth]):.2f}, from {min(gates[depth]):.2f} to {max(gates[depth]):.2f}"
        )
    folder.mkdir(parents=True, exist_ok=True)
    print(f"figure: {save_figure(plot(gates), folder / 'highway')[0]}")


if __name__ == "__main__":
    main()
