"""Batches of images ready for a net: shuffled, augmented and normalized."""

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

Batch = tuple[Tensor, Tensor]  # images (B, C, H, W) float32, labels (B,) int64, on the device

# Call close() after stopping early: the generator may own worker processes.
BatchGenerator = Generator[Batch, None, None]


class Batches(ABC):
    """Yields this process's share of every batch of a run, on its device."""

    decode_stats: DecodeStats | None = None  # of training images; None if they are held in memory

    def __init__(
        self,
        source: Source,
        config: Config,
        mean_image: Tensor | None,
        device: torch.device,
        world: World,
    ) -> None:
        """mean_image: mean training image (C, H, W) in [0, 1]; unused if data.mean is a list."""
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
        # Mean of images in [0, 1], of shape (C, H, W) or (C, 1, 1).
        self.mean = mean.float().to(device)
        # Standard deviation, of shape (C, 1, 1).
        self.std = torch.tensor(data.std or [1.0], device=device)[:, None, None]

    @abstractmethod
    def training(self, start: int, stop: int) -> BatchGenerator:
        """Yield the batches of iterations start .. stop - 1.

        A batch depends only on (seed, iteration). The processes of a run get consecutive parts of
        it.
        """

    @abstractmethod
    def held_out(self, split: str) -> BatchGenerator:
        """Yield the centre view of every image of a held-out split.

        All processes get the same number of batches; some batches may be empty.
        """

    @abstractmethod
    def multi_view(self, split: str, protocol: EvalProtocol) -> MultiViewBatches:
        """Yield all views that `protocol` defines of every image of a held-out split.

        For the protocol "center", use `held_out` instead.
        """

    def _move_to_device(self, tensor: Tensor) -> Tensor:
        """Move a tensor to the device; on CUDA without waiting for the copy.

        On Apple GPUs, asynchronous copies sometimes read memory that had already been reused.
        """
        return tensor.to(self.device, non_blocking=self.device.type == "cuda")

    def _select_indices(self, iteration: int) -> Tensor:
        """Return the image indices of this process's share of a training batch."""
        size = self.config.recipe.batch_size
        indices = batch_indices(self.config.seed, iteration, size, self.num_train)
        return indices[self.world.local_slice(size)]
