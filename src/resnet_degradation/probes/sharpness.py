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
from resnet_degradation.nets.hooks import set_mode
from resnet_degradation.system.rng import generator

TOLERANCE = 2e-2  # relative accuracy of the eigenvalue
MAX_PRODUCTS = 200  # the maximum number of Hessian-vector products


@dataclass(frozen=True)
class Sharpness:
    """A row of sharpness.csv: the sharpness of a net after some iterations.

    iteration: how many iterations the net was trained; 0 for the initial weights.
    images: how many training images the loss is averaged over. 0 if the row has no measurement, but
        only records the limit just before the learning rate changes.
    value: the largest eigenvalue of the Hessian of this loss. None if it was not measured or not
        found (see `measure_sharpness`).
    limit: the `stability_limit` at the learning rate of this iteration. With the initial weights,
        at that of the first iteration.
    """

    iteration: int
    images: int
    value: float | None
    limit: float


def measure_sharpness(
    net: nn.Module,
    batches: list[Batch],
    report: Callable[[int, int], None] = lambda *_: None,
) -> float | None:
    """Compute the largest eigenvalue of the Hessian of the mean cross-entropy over these batches.

    The net is in training mode, so batch normalization uses the statistics of each batch. The loss
    does not include weight decay. Lanczos iteration (ARPACK) finds the eigenvalue to an accuracy
    of two percent. Returns None if it does not converge within MAX_PRODUCTS Hessian-vector
    products, if the Hessian is zero because the loss is flat, or if a product is not finite.

    batches: images of shape (N, 3, H, W) with labels of shape (N,).
    report: called with the number of products so far and MAX_PRODUCTS.
    """
    parameters = [parameter for parameter in net.parameters() if parameter.requires_grad]
    size = sum(parameter.numel() for parameter in parameters)
    num_images = sum(len(labels) for _, labels in batches)
    # Parameters that a custom block does not use have gradients of zero.
    gradient = partial(
        torch.autograd.grad, inputs=parameters, materialize_grads=True, allow_unused=True
    )

    def multiply_by_hessian(vector: "np.ndarray[tuple[int], np.dtype[np.float32]]") -> Tensor:
        """Multiply a vector by the Hessian: take the gradient of the directional derivative."""
        direction = (
            torch.from_numpy(vector).to(parameters[0]).split([p.numel() for p in parameters])
        )
        total = torch.zeros(size, device=parameters[0].device)
        for images, labels in batches:
            loss = F.cross_entropy(net(images), labels, reduction="sum") / num_images
            grads = gradient(loss, create_graph=True)
            terms = (g.flatten() @ d for g, d in zip(grads, direction, strict=True))
            directional_derivative = sum(terms)
            assert isinstance(directional_derivative, Tensor)
            total += torch.cat([h.flatten() for h in gradient(directional_derivative)])
        return total.cpu()

    num_products = 0

    def matvec(vector: "np.ndarray[tuple[int], np.dtype[np.float32]]") -> object:
        nonlocal num_products
        num_products += 1
        report(num_products, MAX_PRODUCTS)
        contiguous = np.ascontiguousarray(vector.ravel(), dtype=np.float32)
        result = multiply_by_hessian(contiguous).numpy()
        if not np.isfinite(result).all():
            raise FloatingPointError
        return result

    start = torch.randn(size, generator=generator("sharpness")).numpy()
    hessian = LinearOperator((size, size), matvec=matvec, dtype=np.float32)
    with set_mode(net, training=True), preserve_running_statistics([net]):
        try:
            (value,) = eigsh(
                hessian,
                k=1,
                which="LA",
                v0=start,
                ncv=min(12, size),
                tol=TOLERANCE,
                # maxiter counts restarts of about ncv / 2 products. With scipy 1.17, ARPACK gives
                # up after 133 products.
                maxiter=MAX_PRODUCTS // 10,
                return_eigenvectors=False,
            )
        # ArpackNoConvergence (an ArpackError): too few restarts. Other ArpackErrors: the first
        # product is zero, because the loss is flat. FloatingPointError: a product is not finite.
        except (ArpackError, FloatingPointError):
            return None
    return float(value)


def stability_limit(lr: float, momentum: float) -> float:
    """The sharpness above which gradient descent with momentum diverges on a quadratic loss.

    It is 2 (1 + momentum) / lr. With small batches, SGD can become unstable at lower sharpness.
    """
    return 2 * (1 + momentum) / lr
