"""Training steps: run eagerly, or captured as one CUDA graph and replayed.

Launching the kernels of a small net takes longer than running them. A CUDA graph launches all
kernels of a step at once: those of augmentation, net, loss, update and meter.
"""

import gc
from collections.abc import Callable, Generator
from contextlib import closing, nullcontext
from functools import partial

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from resnet_degradation.data.in_memory import MemoryBatches
from resnet_degradation.system.errors import ConfigError, is_out_of_memory
from resnet_degradation.training.build import wrap_for_training
from resnet_degradation.training.memory import keeps_gradients
from resnet_degradation.training.state import Run
from resnet_degradation.training.torch_settings import AUTOCAST_DTYPES

# Number of steps before the capture, in which libraries and the optimizer allocate buffers.
NUM_WARM_UP_STEPS = 3

# A function that trains one iteration with a given learning rate.
Step = Callable[[float], None]


def training_steps(run: Run, start: int, stop: int) -> Generator[Step, None, None]:
    """Yield the steps of iterations `start` to `stop` - 1; call them in order.

    Close the generator unless it is exhausted: it may own processes that decode images.
    """
    if run.config.runtime.compile == "step":
        captured = StaticStep(run, GraphedFunction)
        for iteration in range(start, stop):
            yield partial(captured, iteration)
        return
    forward = wrap_for_training(run)
    with closing(run.batches.training(start, stop)) as batches:
        for images, labels in batches:
            yield partial(update, run, forward, images, labels)


def num_slow_steps(run: Run) -> int:
    """Return how many steps at the start take longer than later ones."""
    return NUM_WARM_UP_STEPS + 1 if run.config.runtime.compile == "step" else 1


def update(
    run: Run, forward: nn.Module, images: Tensor, labels: Tensor, lr: float | Tensor
) -> None:
    """Make one step of SGD, without waiting for the device.

    images: tensor of shape (N, C, H, W). labels: tensor of shape (N,).
    """
    for group in run.optimizer.param_groups:
        group["lr"] = lr
    autocast_dtype = AUTOCAST_DTYPES.get(run.config.runtime.precision)
    # A graph cannot use a cast of weights that was made and cached outside it.
    cache_casts = run.config.runtime.compile != "step"
    with (
        torch.autocast(run.device.type, autocast_dtype, cache_enabled=cache_casts)
        if autocast_dtype is not None
        else nullcontext()  # not every device has autocast
    ):
        logits = forward(images)
        loss = F.cross_entropy(logits, labels)
    run.optimizer.zero_grad(set_to_none=not keeps_gradients(run.net))
    run.scaler.scale(loss).backward()
    run.scaler.step(run.optimizer)
    run.scaler.update()
    run.meter.update(loss, logits, labels)


class StaticStep:
    """A step that reads its inputs from the same tensors every time, as CUDA graphs require."""

    def __init__(self, run: Run, wrap: Callable[[Callable[[], None]], Callable[[], None]]) -> None:
        """wrap: makes an equivalent function of its argument, such as `GraphedFunction`."""
        assert isinstance(run.batches, MemoryBatches)
        self.run, self.batches = run, run.batches
        self.draw = run.batches.draw_choices(0).to(run.device)
        self.lr = torch.zeros((), device=run.device)  # float32: fused SGD requires it on a GPU
        self.execute = wrap(self.compute)

    def __call__(self, iteration: int, lr: float) -> None:
        """Train one iteration, counted from 0."""
        self.draw.copy_(self.batches.draw_choices(iteration), non_blocking=True)
        self.lr.fill_(lr)
        self.execute()
        for group in self.run.optimizer.param_groups:
            group["lr"] = lr  # a number, because checkpoints hold one

    def compute(self) -> None:
        """Train on the batch of `draw`. Nothing here may depend on the iteration."""
        images, labels = self.batches.assemble_batch(self.draw)
        update(self.run, self.run.net, images, labels, self.lr)


class GraphedFunction:
    """A function that is called a few times, then captured as a CUDA graph and replayed."""

    def __init__(self, function: Callable[[], None]) -> None:
        self.function = function
        self.num_calls = 0
        self.graph: torch.cuda.CUDAGraph | None = None
        # Kernels are captured on the stream on which their libraries were warmed up.
        self.stream = torch.cuda.Stream()

    def __call__(self) -> None:
        if self.num_calls < NUM_WARM_UP_STEPS:
            self.num_calls += 1
            self._warm_up()
            return
        if self.graph is None:
            self.graph = self._capture()
        self.graph.replay()

    def _warm_up(self) -> None:
        current = torch.cuda.current_stream()
        self.stream.wait_stream(current)
        with torch.cuda.stream(self.stream):
            self.function()
        current.wait_stream(self.stream)

    def _capture(self) -> torch.cuda.CUDAGraph:
        """Capture the function as a graph, without running it.

        Raises ConfigError if it cannot be captured.
        """
        gc.collect()  # objects that autograd left on another stream could break the capture
        graph = torch.cuda.CUDAGraph()
        try:
            # The outer block restores the stream even if the capture fails.
            with torch.cuda.stream(self.stream), torch.cuda.graph(graph, stream=self.stream):
                self.function()
        except RuntimeError as error:
            # After a failure, ending the capture fails too: report the first error.
            cause = error.__context__ if isinstance(error.__context__, Exception) else error
            if is_out_of_memory(cause):
                raise cause from None
            raise ConfigError(
                f"a training step cannot be captured ({str(cause).splitlines()[0]}): "
                "to train without this, set runtime.compile=none"
            ) from error
        return graph
