"""Batch normalization, the addition of a shortcut and the ReLU in one operation, on the CPU.

In PyTorch's kernels they are several sweeps over memory each way. Here they are two: one for the
sums, one for the rest. The results are the same but for rounding.
"""

import ctypes
from functools import lru_cache
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from resnet_degradation.kernels.library import load
from resnet_degradation.nets.blocks import norm_relu

LANES = 16
SOURCE = Path(__file__).with_name("batch_norm.c")


class FusedNormRelu:
    """norm_relu (see nets.blocks) by a compiled library, where that can do it."""

    def __init__(self, library: ctypes.CDLL) -> None:
        pointer, size, number = ctypes.c_void_p, ctypes.c_int64, ctypes.c_int
        shape, real = [size, size, number], ctypes.c_double
        self.forward, self.backward = library.forward, library.backward
        self.forward.argtypes = [*[pointer] * 6, real, real, pointer, pointer, *shape]
        self.backward.argtypes = [*[pointer] * 9, *shape]

    def __deepcopy__(self, _memo: dict[int, Any]) -> "FusedNormRelu":
        return self  # a copy of a net is computed by the same library

    def __call__(self, norm: nn.BatchNorm2d, x: Tensor, added: Tensor | None = None) -> Tensor:
        """ReLU(norm(x) + added) of maps (N, C, H, W)."""
        if not self.can(norm, x, added):
            return norm_relu(norm, x, added)
        assert norm.num_batches_tracked is not None
        norm.num_batches_tracked.add_(1)
        out: Tensor = _NormRelu.apply(x, added, norm.weight, norm.bias, norm, self)
        return out

    def can(self, norm: nn.BatchNorm2d, x: Tensor, added: Tensor | None) -> bool:
        """Whether this is training, on the CPU, in float32 throughout, and unobserved by hooks."""
        if type(norm) is not nn.BatchNorm2d:
            return False
        values = (x, norm.weight, norm.bias, norm.running_mean, norm.running_var)
        return (
            norm.training
            and norm.momentum is not None
            and not norm._forward_hooks
            and not norm._forward_pre_hooks
            and not norm._backward_hooks
            and not norm._backward_pre_hooks
            and all(v is not None and v.dtype == torch.float32 for v in values)
            and all(v is not None and v.device.type == "cpu" for v in values)
            and all(v is not None and v.is_contiguous() for v in values[1:])
            and (added is None or (added.shape, added.dtype, added.device) == _kind(x))
            and x.dim() == 4
            and x.shape[1] % LANES == 0
            and x.numel() > x.shape[1]
            and not torch.is_autocast_enabled("cpu")
        )


def _kind(x: Tensor) -> tuple[torch.Size, torch.dtype, torch.device]:
    return x.shape, x.dtype, x.device


class _NormRelu(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        added: Tensor | None,
        gamma: Tensor,
        beta: Tensor,
        norm: nn.BatchNorm2d,
        kernel: FusedNormRelu,
    ) -> Tensor:
        x = x.contiguous(memory_format=torch.channels_last)
        if added is not None:
            added = added.contiguous(memory_format=torch.channels_last)
        channels = x.shape[1]
        y, kept = torch.empty_like(x), x.new_empty(4, channels)
        assert norm.running_mean is not None
        assert norm.running_var is not None
        failed = kernel.forward(
            *(x.data_ptr(), None if added is None else added.data_ptr()),
            *(gamma.data_ptr(), beta.data_ptr()),
            *(norm.running_mean.data_ptr(), norm.running_var.data_ptr(), norm.momentum, norm.eps),
            *(y.data_ptr(), kept.data_ptr(), x.numel() // channels, channels),
            torch.get_num_threads(),
        )
        if failed:
            raise MemoryError
        ctx.kernel, ctx.has_added = kernel, added is not None
        # What was normalized tells whether the ReLU let it through, unless something was added.
        ctx.save_for_backward(x, gamma, kept, *((y,) if ctx.has_added else ()))
        return y

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        x, gamma, kept, *others = ctx.saved_tensors
        grad = grad.contiguous(memory_format=torch.channels_last)
        channels = x.shape[1]
        passed = torch.empty_like(x) if ctx.has_added else None
        grad_x, grad_gamma, grad_beta = torch.empty_like(x), gamma.clone(), gamma.clone()
        failed = ctx.kernel.backward(
            *(grad.data_ptr(), x.data_ptr(), others[0].data_ptr() if others else None),
            *(gamma.data_ptr(), kept.data_ptr(), None if passed is None else passed.data_ptr()),
            *(grad_x.data_ptr(), grad_gamma.data_ptr(), grad_beta.data_ptr()),
            *(x.numel() // channels, channels, torch.get_num_threads()),
        )
        if failed:
            raise MemoryError
        return grad_x, passed, grad_gamma, grad_beta, None, None


@lru_cache(maxsize=1)
def fused_norm_relu() -> FusedNormRelu | None:
    """The compiled operation, or None where there is no compiler or what it made is not right."""
    library = load(SOURCE)
    if library is None:
        return None
    fused = FusedNormRelu(library)
    return fused if _agrees(fused) else None


def _agrees(fused: FusedNormRelu) -> bool:
    """Whether it does on some values what PyTorch does, with and without an addition."""
    for channels, with_added in ((LANES, True), (3 * LANES, False)):
        results = []
        for operation in (fused, norm_relu):
            rng = torch.Generator().manual_seed(0)
            norm = nn.BatchNorm2d(channels)
            x, added = torch.randn(2, 5, channels, 9, 11, generator=rng).requires_grad_().unbind()
            out = operation(norm, x, added if with_added else None)
            wanted = [*norm.parameters(), x, *([added] if with_added else [])]
            grads = torch.autograd.grad(out.square().sum(), wanted)
            results.append([out, norm.running_mean, norm.running_var, *grads])
        for one, other in zip(*results, strict=True):
            if not torch.allclose(one, other, rtol=1e-3, atol=1e-3):
                return False
    return True
