"""Generators that make training steps of the trainer and its peers."""

import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from typing import Any

import textbook
import torch
import torchvision
from torch import Tensor, nn

from resnet_degradation.cli.compose import compose_config
from resnet_degradation.data.dataset import Arrays
from resnet_degradation.data.sources.load import load_source
from resnet_degradation.training.state import Run
from resnet_degradation.training.step import training_steps

CIFAR = (
    "output_dir=/nowhere",
    "data=digits",
    "data.image_size=32",
    "recipe=cifar",
    "recipe.batch_size=128",
)

EPOCH_SIZE = 50_000  # training images of CIFAR-10


def measure_seconds(call: Callable[[], Any]) -> float:
    """Return the seconds that a call takes."""
    start_time = time.perf_counter()
    call()
    return time.perf_counter() - start_time


def trainer_steps(run: Run) -> Iterator[None]:
    """Make training iterations of the trainer, including data and meter."""
    run.net.train()
    for step in training_steps(run, 0, 10**6):
        step(0.01)
        yield


def textbook_steps(*overrides: str, device: str = "cpu") -> Iterator[None]:
    """Make iterations of the textbook loop, with a public net and a configuration's images.

    The net of the ImageNet family is torchvision's, with option B shortcuts.
    """
    config = compose_config(*overrides)
    source = load_source(config.data)
    assert isinstance(source.train, Arrays)
    if config.family == "imagenet":
        net = getattr(torchvision.models, f"resnet{config.depth}")(num_classes=len(source.classes))
    else:
        net = textbook.ResNet(config.depth, config.residual, config.width, len(source.classes))
    # An epoch is as long as CIFAR-10's, because a DataLoader restarts its workers in each epoch.
    repeated = torch.arange(EPOCH_SIZE) % len(source.train.labels)
    images, labels = source.train.images[repeated], source.train.labels[repeated]
    return textbook.steps(net, images, labels, config.recipe.batch_size, device)


def separate_textbook_steps(overrides: tuple[str, ...]) -> Iterator[None]:
    """Make steps of the textbook loop in a separate process, without this project's settings."""
    process = subprocess.Popen(
        [sys.executable, __file__, *overrides],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        bufsize=1,
    )
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        while True:
            process.stdin.write("step\n")
            if not process.stdout.readline():
                raise RuntimeError("the process of the textbook loop has ended")
            yield
    finally:
        process.stdin.close()
        process.wait()


def serve_textbook(overrides: list[str]) -> None:
    """Make a step of the textbook loop for every line on standard input."""
    steps = textbook_steps(*overrides)
    for _ in sys.stdin:
        next(steps)
        print("done", flush=True)


def convolution_steps(
    net: nn.Module, batch: Tensor, dtype: torch.dtype | None = None
) -> Iterator[None]:
    """Run only the convolutions of a step: forward, and backward for input and weight.

    dtype: the dtype of the tensors; None to keep that of the net.
    """
    calls: list[tuple[Tensor, Tensor, Tensor, nn.Conv2d]] = []

    def record(module: nn.Module, inputs: tuple[Tensor], output: Tensor) -> None:
        assert isinstance(module, nn.Conv2d)
        tensors = (inputs[0], torch.randn_like(output), module.weight)
        x, grad, weight = (tensor.detach().to(dtype, copy=True) for tensor in tensors)
        calls.append((x, grad, weight, module))

    convolutions = [module for module in net.modules() if isinstance(module, nn.Conv2d)]
    hooks = [module.register_forward_hook(record) for module in convolutions]
    with torch.no_grad():
        net(batch)
    for hook in hooks:
        hook.remove()
    while True:
        for number, (x, grad, weight, module) in enumerate(calls):
            with torch.no_grad():
                nn.functional.conv2d(x, weight, None, module.stride, module.padding)
                torch.ops.aten.convolution_backward(
                    *(grad, x, weight, None, module.stride, module.padding, module.dilation),
                    *(False, [0, 0], 1, [number > 0, True, False]),
                )
        yield


if __name__ == "__main__":
    serve_textbook(sys.argv[1:])
