"""Default resources of the jobs of the Ray launcher: those that a run needs."""

from collections.abc import Sequence

from resnet_degradation.config.schema import Config


def ray_arguments(run: Config, arguments: Sequence[str]) -> list[str]:
    """Default arguments for the Ray launcher, without those that `arguments` set.

    Empty unless hydra/launcher=ray is in `arguments`. All jobs of a command request the same
    resources.
    """
    if "hydra/launcher=ray" not in arguments:
        return []
    # Imported here, because these modules load slowly and only Ray needs them.
    import torch

    from resnet_degradation.training.launch import num_processes

    count, device = num_processes(run), run.runtime.device
    uses_gpu = device == "cuda" or (device == "auto" and torch.cuda.is_available())
    given_keys = {argument.partition("=")[0].lstrip("+") for argument in arguments}
    defaults = {
        # Ray limits a job to one thread per requested CPU.
        "remote.num_cpus": count * max(1, run.runtime.num_threads),
        # One per process. With runtime.device=auto, 0 if this machine has no GPU.
        "remote.num_gpus": count if uses_gpu else 0,
        # A running cluster rejects the launcher's default.
        "init.object_store_memory": "null",
    }
    settings = {f"hydra.launcher.ray.{key}": value for key, value in defaults.items()}
    return [f"++{key}={value}" for key, value in settings.items() if key not in given_keys]
