"""Batches of images ready for a net: shuffled, augmented, with the mean subtracted."""

from abc import ABC, abstractmethod
from collections.abc import Generator

import torch
from torch import Tensor

from resnet_degradation.config.schema import Config
from resnet_degradation.data.dataset import Source
from resnet_degradation.data.decode import DecodeStats
from resnet_degradation.data.sampling import batch_indices
from resnet_degradation.data.views import EvalProtocol, MultiViewBatches
from resnet_degradation.distributed.world import World

Batch = tuple[Tensor, Tensor]  # (B, C, H, W) float32, (B,) int64, both on the device

# Close it unless it is exhausted: it may own worker processes.
BatchGenerator = Generator[Batch, None, None]


class Batches(ABC):
    """This process's share of every batch of a run, on its device."""

    decode_stats: DecodeStats | None = None  # for training images; None if they are in memory

    def __init__(
        self,
        source: Source,
        config: Config,
        mean_image: Tensor | None,
        device: torch.device,
        world: World,
    ) -> None:
        """mean_image: (C, H, W) in [0, 1], of training images; unused if data.mean is a list."""
        data = config.data
        self.config, self.device, self.world = config, device, world
        self.num_train = len(source.train)
        self.splits = {name: len(images) for name, images in source.held_out.items()}
        self.num_classes = len(source.classes)
        if isinstance(data.mean, str):
            assert mean_image is not None
            mean = (
                mean_image.mean(dim=(1, 2), keepdim=True) if data.mean == "channel" else mean_image
            )
        else:
            mean = torch.tensor(data.mean)[:, None, None]
        # Subtracted from images in [0, 1]: (C, H, W) or (C, 1, 1).
        self.mean = mean.float().to(device)
        # Divides the mean-subtracted images: (C, 1, 1).
        self.std = torch.tensor(data.std or [1.0], device=device)[:, None, None]

    @abstractmethod
    def training(self, start: int, stop: int) -> BatchGenerator:
        """The batches of iterations start .. stop - 1, each a function of (seed, iteration).

        Processes that train together get consecutive parts of the same batch.
        """

    @abstractmethod
    def held_out(self, split: str) -> BatchGenerator:
        """Every image of a held-out split once, as its single centre view.

        All processes get the same number of batches, some of which may be empty.
        """

    @abstractmethod
    def multi_view(self, split: str, protocol: EvalProtocol) -> MultiViewBatches:
        """Every image of a held-out split once, in all views that `protocol` defines.

        `protocol` must not be "center" (use `held_out`).
        """

    def _move(self, tensor: Tensor) -> Tensor:
        """Move a tensor to the device, in the background with CUDA, where that is safe.

        On an Apple GPU, such copies have read memory that was already in use for something else.
        """
        return tensor.to(self.device, non_blocking=self.device.type == "cuda")

    def _indices(self, iteration: int) -> Tensor:
        """The image indices of this process's share of a training batch."""
        size = self.config.recipe.batch_size
        indices = batch_indices(self.config.seed, iteration, size, self.num_train)
        return indices[self.world.local_slice(size)]
