"""The training loop: the paper's recipe (sections 3.4 and 4.2), one iteration after another.

A checkpoint is written after an update and before its measurements. Everything after it depends
only on the saved state, so a resumed run repeats it exactly.
"""

from contextlib import closing

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from resnet_degradation.system.rng import stable_seed
from resnet_degradation.training.build import forward_function
from resnet_degradation.training.memory import MIXED, keeps_gradients
from resnet_degradation.training.monitor import Monitor
from resnet_degradation.training.state import Run


def iterate(run: Run, monitor: Monitor) -> None:
    """Train from the run's last checkpoint, or its beginning, to its last iteration.

    Raises Stopped on a signal, after saving the run; DivergenceError when the loss or a weight is
    no longer finite.
    """
    plan, forward = run.plan, forward_function(run)
    run.net.train()
    monitor.begin()
    with closing(run.batches.training(run.start, plan.num_iterations)) as batches:
        for iteration, (images, labels) in enumerate(batches, run.start + 1):
            if run.net.has_custom_blocks:  # they may draw from torch's global generator
                torch.manual_seed(stable_seed("blocks", run.config.seed, iteration, run.world.rank))
            update(run, forward, images, labels, run.schedule.lr(iteration - 1))
            monitor.progress.advance(iteration)
            if any(plan.is_due(iteration, n) for n in (plan.checkpoint_every, plan.keep_every)):
                monitor.save(iteration)
            monitor.poll_signals(iteration)
            monitor.measure(iteration)


def update(run: Run, forward: nn.Module, images: Tensor, labels: Tensor, lr: float) -> None:
    """One step of SGD on images (N, C, H, W) with labels (N,); it never waits for the device."""
    for group in run.optimizer.param_groups:
        group["lr"] = lr
    mixed = MIXED.get(run.config.runtime.precision)
    with torch.autocast(run.device.type, mixed, enabled=mixed is not None):
        logits = forward(images)
        loss = F.cross_entropy(logits, labels)
    run.optimizer.zero_grad(set_to_none=not keeps_gradients(run.net))
    run.scaler.scale(loss).backward()
    run.scaler.step(run.optimizer)
    run.scaler.update()
    run.meter.update(loss, logits, labels)
