"""The sharpness of a net: the largest eigenvalue of the Hessian of its training loss."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
from scipy.sparse.linalg import ArpackError, LinearOperator, eigsh
from torch import Tensor, nn
from torch.nn import functional as F

from resnet_degradation.data.batches import Batch
from resnet_degradation.nets.activation_checkpointing import preserve_running_statistics
from resnet_degradation.nets.hooks import mode
from resnet_degradation.system.rng import generator

# Relative accuracy of the eigenvalue, and the Hessian-vector products after which to give up.
TOLERANCE = 2e-2
MAX_PRODUCTS = 200


@dataclass(frozen=True)
class Sharpness:
    """The sharpness on `images` training images after some iterations; None if it was not found.

    limit: the sharpness above which training is unstable at the learning rate of the last of these
        iterations (of the first iteration, for the initial weights). A row with 0 images has no
        measurement: it only records the limit at the last iteration before the rate changed.
    """

    iteration: int
    images: int
    value: float | None
    limit: float


def sharpness(
    net: nn.Module,
    batches: list[Batch],
    report: Callable[[int, int], None] = lambda *_: None,
) -> float | None:
    """The largest eigenvalue of the Hessian of the mean cross-entropy over these batches.

    The net is in training mode: each batch is normalized by its own statistics, as in training.
    Weight decay is not part of the loss. Lanczos iteration (ARPACK) finds the eigenvalue within
    two percent; None if it does not within MAX_PRODUCTS Hessian-vector products, or if the loss is
    not finite.

    report: is called with the number of products so far and the largest possible one.
    """
    parameters = [parameter for parameter in net.parameters() if parameter.requires_grad]
    size = sum(parameter.numel() for parameter in parameters)
    num_images = sum(len(labels) for _, labels in batches)
    # Parameters that a custom block does not use have gradients of zero.
    gradients = partial(
        torch.autograd.grad, inputs=parameters, materialize_grads=True, allow_unused=True
    )

    def product(vector: "np.ndarray[tuple[int], np.dtype[np.float32]]") -> Tensor:
        direction = (
            torch.from_numpy(vector).to(parameters[0]).split([p.numel() for p in parameters])
        )
        total = torch.zeros(size, device=parameters[0].device)
        for images, labels in batches:
            loss = F.cross_entropy(net(images), labels, reduction="sum") / num_images
            slopes = gradients(loss, create_graph=True)
            along = sum((s.flatten() @ d for s, d in zip(slopes, direction, strict=True)))
            assert isinstance(along, Tensor)
            total += torch.cat([h.flatten() for h in gradients(along)])
        return total.cpu()

    products = 0

    def matvec(vector: "np.ndarray[tuple[int], np.dtype[np.float32]]") -> object:
        nonlocal products
        products += 1
        report(products, MAX_PRODUCTS)
        result = product(np.ascontiguousarray(vector.ravel(), dtype=np.float32)).numpy()
        if not np.isfinite(result).all():
            raise FloatingPointError
        return result

    start = torch.randn(size, generator=generator("sharpness")).numpy()
    hessian = LinearOperator((size, size), matvec=matvec, dtype=np.float32)
    with mode(net, training=True), preserve_running_statistics([net]):
        try:
            (value,) = eigsh(
                hessian,
                k=1,
                which="LA",
                v0=start,
                ncv=min(12, size),
                tol=TOLERANCE,
                maxiter=MAX_PRODUCTS // 10,
                return_eigenvectors=False,
            )
        except (ArpackError, FloatingPointError):  # no convergence; the loss is flat or not finite
            return None
    return float(value)


def stability_limit(lr: float, momentum: float) -> float:
    """The sharpness above which gradient descent with momentum diverges on a quadratic loss.

    That is 2 (1 + momentum) / lr; SGD on small batches becomes unstable below it.
    """
    return 2 * (1 + momentum) / lr
