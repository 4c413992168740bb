"""The resources that a job of the Ray launcher requests: by default, those that its run needs."""

from collections.abc import Sequence

from resnet_degradation.config.schema import Config


def ray_arguments(run: Config, arguments: Sequence[str]) -> list[str]:
    """The arguments for Ray that a command with these arguments does not set.

    Empty unless hydra/launcher=ray is among them. One request holds for all jobs of a command.
    """
    if "hydra/launcher=ray" not in arguments:
        return []
    # Slow to load, and needed only where Ray is used.
    import torch

    from resnet_degradation.training.launch import num_processes

    count, device = num_processes(run), run.runtime.device
    on_gpu = device == "cuda" or (device == "auto" and torch.cuda.is_available())
    given = {argument.partition("=")[0].lstrip("+") for argument in arguments}
    defaults = {
        # Ray limits a job to one thread per requested CPU.
        "remote.num_cpus": count * max(1, run.runtime.num_threads),
        # One per process; with runtime.device=auto, none if the submitting machine has none.
        "remote.num_gpus": count if on_gpu else 0,
        # A running cluster refuses the launcher's default.
        "init.object_store_memory": "null",
    }
    keys = {f"hydra.launcher.ray.{key}": value for key, value in defaults.items()}
    return [f"++{key}={value}" for key, value in keys.items() if key not in given]
