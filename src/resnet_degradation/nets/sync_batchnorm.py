"""Batch normalization with the statistics of the whole batch, over all processes."""

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.nn.functional import all_reduce


class SyncBatchNorm2d(nn.BatchNorm2d):
    """Synchronized batch normalization on any device. nn.SyncBatchNorm needs a GPU."""

    def forward(self, x: Tensor) -> Tensor:
        if not self.training:
            return super().forward(x)
        assert self.running_mean is not None
        assert self.running_var is not None
        assert self.num_batches_tracked is not None
        assert self.momentum is not None
        dtype, x = x.dtype, x.float()  # statistics need float32
        # All processes have the same number of images.
        count = x.numel() // x.shape[1] * dist.get_world_size()
        mean = all_reduce(x.sum(dim=(0, 2, 3))) / count
        centred = x - mean[:, None, None]
        var = all_reduce(centred.square().sum(dim=(0, 2, 3))) / count
        with torch.no_grad():
            self.num_batches_tracked.add_(1)
            self.running_mean.lerp_(mean, self.momentum)
            self.running_var.lerp_(var * count / (count - 1), self.momentum)
        scale = self.weight * torch.rsqrt(var + self.eps)
        out: Tensor = centred * scale[:, None, None] + self.bias[:, None, None]
        return out.to(dtype)


def convert_sync_batchnorm(net: nn.Module, device: torch.device) -> None:
    """Synchronize the batch normalizations of a net, in place, and keep its state dict keys."""
    if device.type == "cuda":
        nn.SyncBatchNorm.convert_sync_batchnorm(net)  # in place, as the net is not a BatchNorm
        return
    for module in net.modules():
        if type(module) is nn.BatchNorm2d:
            module.__class__ = SyncBatchNorm2d
