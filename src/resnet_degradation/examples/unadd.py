"""Builds a residual net with wider blocks that computes exactly what a plain net computes.

A residual block receives x >= 0, the output of a ReLU, and computes ReLU(F(x) + x). This equals the
output ReLU(G(x)) of a plain block if F(x) = G(x) - x. Such an F has the inner channels of G, and
one more for each channel of x. The first convolution copies x with Dirac kernels, the inner ReLU
leaves it unchanged, and the second convolution subtracts it. So residual blocks with enough inner
channels can compute every plain block. This program builds them from a trained plain net.
docs/residual-representations.md says what is proved.
"""

import sys
from contextlib import closing

import torch
from matplotlib import rc_context
from matplotlib.figure import Figure
from torch import Tensor, nn

from resnet_degradation.api.run import Run, train
from resnet_degradation.config.schema import RuntimeConfig
from resnet_degradation.figures.labels import Label, label_ends
from resnet_degradation.figures.style import rc, save_figure
from resnet_degradation.nets.blocks import BasicBlock, Shortcut, conv3x3
from resnet_degradation.nets.resnet import ResNet
from resnet_degradation.records.run_folder import checkpoint_files
from resnet_degradation.training.load_run import TrainedNet, load_trained_net

COLOURS = ("#E69F00", "#8C6D1F", "#0072B2", "#56B4E9")


class WideInside(BasicBlock):
    """A basic block with one more inner channel for each channel of its input."""

    def __init__(
        self, in_channels: int, channels: int, stride: int, residual: bool, shortcut: Shortcut
    ) -> None:
        super().__init__(in_channels, channels, stride, residual, shortcut)
        self.conv1 = conv3x3(in_channels, channels + in_channels, stride)
        self.bn1 = nn.BatchNorm2d(channels + in_channels)
        self.conv2 = conv3x3(channels + in_channels, channels)


@torch.no_grad()
def subtract_x(plain: BasicBlock, wide: WideInside) -> None:
    """Set the weights of `wide` so that F(x) = G(x) - x in evaluation mode, with G of `plain`."""
    out_channels, inner_channels = plain.conv2.out_channels, plain.conv1.out_channels
    num_copied = wide.conv1.out_channels - inner_channels
    wide.conv1.weight[:inner_channels] = plain.conv1.weight
    nn.init.dirac_(wide.conv1.weight[inner_channels:])
    _make_identity(wide.bn1)
    for name, value in plain.bn1.state_dict().items():
        if value.dim():
            wide.bn1.state_dict()[name][:inner_channels] = value
    # Merge the second normalization into the convolution, because it must not change -x.
    norm = plain.bn2
    assert norm.running_mean is not None
    assert norm.running_var is not None
    scale = norm.weight / (norm.running_var + norm.eps).sqrt()
    wide.conv2.weight.zero_()
    wide.conv2.weight[:, :inner_channels] = plain.conv2.weight * scale.view(-1, 1, 1, 1)
    channels = torch.arange(min(num_copied, out_channels))
    wide.conv2.weight[channels, inner_channels + channels, 1, 1] = -1
    _make_identity(wide.bn2)
    wide.bn2.bias.copy_(norm.bias - scale * norm.running_mean)


def _make_identity(norm: nn.BatchNorm2d) -> None:
    assert norm.running_mean is not None
    assert norm.running_var is not None
    norm.running_mean.zero_()
    norm.running_var.fill_(1)
    norm.weight.fill_(1).mul_((1 + norm.eps) ** 0.5)
    norm.bias.zero_()


def make_residual_twin(plain: ResNet, width: float = 1.0) -> ResNet:
    """Build a residual net of WideInside blocks with the same logits as `plain` in evaluation mode.

    The net is returned in evaluation mode.
    """
    twin = ResNet(
        plain.arch.depth,
        residual=True,
        family=plain.arch.family,
        width=width,
        num_classes=plain.fc.out_features,
        custom_block=WideInside,
    )
    with torch.no_grad():
        for name, value in plain.state_dict().items():
            if not name.startswith("layer"):
                twin.state_dict()[name].copy_(value)
    for block, wide in zip(plain.blocks().values(), twin.blocks().values(), strict=True):
        assert isinstance(block, BasicBlock)
        assert isinstance(wide, WideInside)
        subtract_x(block, wide)
    return twin.eval()


@torch.no_grad()
def largest_difference(plain: ResNet, twin: ResNet, images: Tensor) -> tuple[float, float]:
    """The largest difference between the logits of both nets, and the largest logit."""
    plain_logits, twin_logits = plain(images), twin(images)
    difference = plain_logits - twin_logits
    return float(difference.abs().max()), float(plain_logits.abs().max())


@torch.no_grad()
def recompute_statistics(net: ResNet, images: Tensor) -> None:
    """Replace the running statistics of all batch normalizations by those for `images`, in place.

    Scales and shifts change so that the net computes the same in evaluation mode. In training mode,
    which normalizes by the statistics of a batch, it then computes nearly the same, too.

    images: tensor of shape (N, 3, H, W).
    """

    def replace_statistics(norm: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        assert isinstance(norm, nn.BatchNorm2d)
        assert norm.running_mean is not None
        assert norm.running_var is not None
        scale = norm.weight / (norm.running_var + norm.eps).sqrt()
        shift = norm.bias - scale * norm.running_mean
        variance, mean = torch.var_mean(inputs[0], dim=(0, 2, 3), correction=0)
        norm.running_mean.copy_(mean)
        norm.running_var.copy_(variance)
        norm.weight.copy_(scale * (variance + norm.eps).sqrt())
        norm.bias.copy_(shift + scale * mean)

    norms = [module for module in net.modules() if isinstance(module, nn.BatchNorm2d)]
    hooks = [norm.register_forward_pre_hook(replace_statistics) for norm in norms]
    net.eval()(images)
    for hook in hooks:
        hook.remove()


def train_from_both_starts(plain: TrainedNet, *overrides: str) -> dict[str, Run]:
    """Train the plain net further, and two residual twins; return all runs by name.

    One twin starts from the function of the plain net, the other from its usual initialization.
    """
    twin = make_residual_twin(plain.net, plain.config.width)
    with closing(plain.batches.training(0, 8)) as batches:
        recompute_statistics(twin, torch.cat([images for images, _ in batches]))
    twin_file = plain.folder / "twin.pt"
    torch.save(twin.state_dict(), twin_file)
    shared = [f"depth={plain.config.depth}", *overrides]
    wide = [*shared, "residual=true", "block=resnet_degradation.examples.unadd:WideInside"]
    retrained = [*shared, "residual=false", f"weights={checkpoint_files(plain.folder)[0]}"]
    return {
        "plain": Run(plain.folder),
        "plain, trained again": train(retrained),
        "residual, from the plain net": train([*wide, f"weights={twin_file}"]),
        "residual, usual start": train(wide),
    }


def plot(runs: dict[str, Run]) -> Figure:
    """Plot the training error of each run, with the run's name at the end of its curve."""
    with rc_context(rc()):
        figure = Figure(figsize=(6.4, 3.2))
        axes, labels = figure.subplots(), []
        for (name, run), colour in zip(runs.items(), COLOURS, strict=True):
            metrics = run.metrics
            errors = metrics["train_error"]
            style = "-" if name.startswith("residual") else "--"
            axes.plot(metrics["iteration"], errors, style, color=colour)
            labels.append(Label(name, colour, float(errors[-1])))
        axes.set(xlabel="iterations", ylabel="training error (%)", xlim=(0, None), ylim=(0, None))
        figure.subplots_adjust(left=0.09, right=0.75, top=0.96, bottom=0.15)
        label_ends(axes, labels)
    return figure


def main(*overrides: str, training: bool = False) -> None:
    """Train plain-20 unless it is already trained, build its residual twin and compare the logits.

    training: also train the twin from both starts, and plot the errors.
    """
    folder = train(overrides, depth=20, residual=False).folder
    trained = load_trained_net(folder, RuntimeConfig(), torch.device("cpu"), num_held_out=500)
    (images, _), *_ = trained.batches.held_out(next(iter(trained.batches.splits)))
    difference, largest = largest_difference(
        trained.net, make_residual_twin(trained.net, trained.config.width), images
    )
    print(
        f"{folder.name} and a residual net with the same function: logits of up to {largest:.1f} "
        f"differ by at most {difference:.0e} on {len(images)} held-out images"
    )
    if training:
        runs = train_from_both_starts(trained, *overrides)
        for name, run in runs.items():
            print(f"{name}: {run.errors}")
        # The run folder is output_dir/DATA/RUN.
        stem = folder.parents[1] / "examples" / f"unadd-seed{trained.config.seed}"
        print(f"figure: {save_figure(plot(runs), stem)[0]}")


if __name__ == "__main__":
    main(*(key for key in sys.argv[1:] if key != "--train"), training="--train" in sys.argv[1:])
