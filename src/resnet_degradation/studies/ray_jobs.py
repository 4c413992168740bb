"""The resources that a job of the Ray launcher requests: by default, those that its run needs."""

from collections.abc import Sequence

from resnet_degradation.config.schema import Config


def ray_arguments(run: Config, arguments: Sequence[str]) -> list[str]:
    """The arguments for Ray that a command with these arguments does not set.

    Empty unless hydra/launcher=ray is among them. One request holds for all jobs of a command.
    """
    if "hydra/launcher=ray" not in arguments:
        return []
    given = {argument.partition("=")[0].lstrip("+") for argument in arguments}
    defaults = {
        "remote.num_cpus": cpus_of_run(run),
        "remote.num_gpus": gpus_of_run(run),
        # A running cluster refuses the launcher's default.
        "init.object_store_memory": "null",
    }
    keys = {f"hydra.launcher.ray.{key}": value for key, value in defaults.items()}
    return [f"++{key}={value}" for key, value in keys.items() if key not in given]


def cpus_of_run(run: Config) -> int:
    """The threads of all processes of a run. Ray limits a job to one thread per requested CPU."""
    from resnet_degradation.training.launch import num_processes

    return num_processes(run) * max(1, run.runtime.num_threads)


def gpus_of_run(run: Config) -> int:
    """One GPU per process. With runtime.device=auto: none if the submitting machine has none."""
    import torch  # slow to load, and needed only where Ray is used

    from resnet_degradation.training.launch import num_processes

    device = run.runtime.device
    on_gpu = device == "cuda" or (device == "auto" and torch.cuda.is_available())
    return num_processes(run) if on_gpu else 0
