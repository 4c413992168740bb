"""Generators of training steps: of the trainer and of the textbook loop."""

from collections.abc import Iterator

import textbook

from resnet_degradation.cli.compose import compose_config
from resnet_degradation.data.dataset import Arrays
from resnet_degradation.data.sources.load import load_source
from resnet_degradation.nets.build import make_net
from resnet_degradation.training.state import Run
from resnet_degradation.training.step import training_steps


def trainer_steps(run: Run) -> Iterator[None]:
    """Iterations of the trainer, data and meter included."""
    run.net.train()
    for step in training_steps(run, 0, 10**6):
        step(0.01)
        yield


def textbook_steps(*overrides: str, device: str = "cpu") -> Iterator[None]:
    """Iterations of the textbook loop, with the net and images of a configuration."""
    config = compose_config(*overrides)
    source = load_source(config.data)
    assert isinstance(source.train, Arrays)
    net = make_net(config, len(source.classes))
    images, labels = source.train.images, source.train.labels
    return textbook.steps(net, images, labels, config.recipe.batch_size, device)
