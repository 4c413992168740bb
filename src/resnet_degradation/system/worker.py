"""Sets up worker processes that `multiprocessing` starts."""

import multiprocessing
import os
import threading
from multiprocessing.connection import wait as wait_for_end
from multiprocessing.queues import SimpleQueue

from resnet_degradation.system.encoding import use_ascii_fallback
from resnet_degradation.system.errors import use_one_line_warnings
from resnet_degradation.system.os_signals import ignore_interrupts
from resnet_degradation.system.process import limit_openmp_spinning


def init_worker(slot: int) -> None:
    """Set up a worker process, which exits when its parent does.

    slot: the worker's number, from 0; it selects the worker's GPU.
    """
    limit_openmp_spinning()
    ignore_interrupts()
    use_ascii_fallback()
    use_one_line_warnings()
    parent = multiprocessing.parent_process()
    assert parent is not None

    def end_with_parent() -> None:
        wait_for_end([parent.sentinel])
        os._exit(1)

    threading.Thread(target=end_with_parent, daemon=True).start()
    import torch

    if (num_gpus := torch.cuda.device_count()) > 1:
        torch.cuda.set_device(slot % num_gpus)


def init_pool_worker(slots: "SimpleQueue[int]") -> None:
    """Set up a worker process of a pool with the next free slot.

    A worker unpickles this function and thereby imports this module, which must not load torch
    before `limit_openmp_spinning` is called.
    """
    init_worker(slots.get())
