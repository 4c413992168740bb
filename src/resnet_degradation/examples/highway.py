"""Compares highway blocks with identity shortcuts, and measures the learned gates.

A highway block computes T(x) F(x) + (1 - T(x)) x, where each value of the gate T is between 0 and
1. Where T is 1, the shortcut is closed.
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
GATE_BIAS = -1.0  # the initial gates weight x more than F(x)


class Highway(BasicBlock):
    """A basic block with a gate, which a 1x1 convolution computes from x."""

    def __init__(self, in_channels: int, channels: int, stride: int, *arguments: Any) -> None:
        super().__init__(in_channels, channels, stride, *arguments)
        self.gate_layer = nn.Conv2d(in_channels, channels, 1, stride)

    def gate(self, x: Tensor) -> Tensor:
        """T(x), with the shape of the block's output."""
        return torch.sigmoid(self.gate_layer(x) + GATE_BIAS)

    def forward(self, x: Tensor) -> Tensor:
        gate = self.gate(x)
        return torch.relu(gate * self.branch(x) + (1 - gate) * self.shortcut(x))


@torch.no_grad()
def mean_gates(folder: Path) -> list[float]:
    """The mean of T(x) over held-out images and output values, for each block of a trained net."""
    trained = load_trained_net(folder, RuntimeConfig(), torch.device("cpu"), num_held_out=200)
    gates: dict[str, list[float]] = {name: [] for name in trained.net.blocks()}

    def record_gate(name: str, x: Tensor, _output: Tensor) -> None:
        block = trained.net.blocks()[name]
        # Not isinstance(block, Highway): if this module runs as __main__, the block's class is the
        # one of the imported module, which is another one.
        gate: Tensor = block.gate(x)  # type: ignore[operator]
        gates[name].append(float(gate.mean()))

    with observe_modules(trained.net, trained.net.blocks(), record_gate, training=False):
        for images, _ in trained.batches.held_out(next(iter(trained.batches.splits))):
            trained.net(images)
    return [mean(values) for values in gates.values()]


def plot(gates: dict[int, list[float]]) -> Figure:
    """Plot the mean gate of each block, given for each depth."""
    with rc_context(rc()):
        figure = Figure(figsize=(4.6, 3.0))
        axes = figure.subplots()
        for (depth, means), colour in zip(gates.items(), ("#E69F00", "#D55E00"), strict=False):
            positions = [(i + 0.5) / len(means) for i in range(len(means))]
            axes.plot(positions, means, ".-", color=colour, label=f"{depth} layers")
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
