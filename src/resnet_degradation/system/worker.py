"""Worker processes, which `multiprocessing` starts."""

import multiprocessing
import os
import threading
from multiprocessing.connection import wait as wait_for_end

from resnet_degradation.system.encoding import ascii_fallback
from resnet_degradation.system.errors import one_line_warnings
from resnet_degradation.system.os_signals import ignore_interrupts


def init_worker(slot: int) -> None:
    """Set up a worker process: it exits with its parent, and uses the GPU of its slot."""
    ignore_interrupts()
    ascii_fallback()
    one_line_warnings()
    parent = multiprocessing.parent_process()
    assert parent is not None

    def end_with_parent() -> None:
        wait_for_end([parent.sentinel])
        os._exit(1)

    threading.Thread(target=end_with_parent, daemon=True).start()
    import torch

    if (num_gpus := torch.cuda.device_count()) > 1:
        torch.cuda.set_device(slot % num_gpus)
