"""The training loop: the paper's recipe (sections 3.4 and 4.2), one iteration after another.

A checkpoint is written after an update and before anything is measured. Everything that follows
depends only on the saved state, so a resumed run repeats it exactly.
"""

from contextlib import closing

import torch

from resnet_degradation.system.rng import stable_seed
from resnet_degradation.training.batch_size import try_step
from resnet_degradation.training.monitor import Monitor
from resnet_degradation.training.state import Run
from resnet_degradation.training.step import training_steps


def train_iterations(run: Run, monitor: Monitor) -> None:
    """Train from the last checkpoint, or from the beginning, to the last iteration.

    Raises Stopped on a signal, after saving the run, and DivergenceError when the loss or a weight
    is no longer finite.
    """
    plan = run.plan
    run.net.train()
    monitor.begin()
    with closing(training_steps(run, run.start, plan.num_iterations)) as steps:
        for iteration, step in enumerate(steps, run.start + 1):
            if run.net.has_custom_blocks:  # they may draw from torch's global generator
                torch.manual_seed(stable_seed("blocks", run.config.seed, iteration, run.world.rank))
            try_step(run, step, run.schedule.lr(iteration - 1))
            monitor.progress.advance(iteration)
            intervals = (plan.checkpoint_every, plan.keep_every)
            if any(plan.is_due(iteration, interval) for interval in intervals):
                monitor.save(iteration)
            monitor.poll_signals(iteration)
            monitor.measure(iteration)
