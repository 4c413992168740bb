"""CPU time of a training step of ResNet-20 in fp32 and in bf16, on one thread, in turn."""

import json
import time
from statistics import median

from steps import trainer_steps

from resnet_degradation.cli.compose import compose_config
from resnet_degradation.training.build import prepare

NET = (
    *("output_dir=/nowhere", "data=digits", "data.image_size=32", "recipe=cifar", "depth=20"),
    *("recipe.batch_size=128", "runtime.device=cpu", "runtime.num_threads=1"),
)


def precision_times(rounds: int) -> dict[str, float]:
    """Milliseconds of CPU time of a step in each precision; the first step does not count."""
    steps = {
        name: trainer_steps(prepare(compose_config(*NET, f"runtime.precision={name}")))
        for name in ("fp32", "bf16")
    }
    times: dict[str, list[float]] = {name: [] for name in steps}
    for _ in range(rounds + 1):
        for name, step in steps.items():
            began = time.process_time()
            next(step)
            times[name].append(time.process_time() - began)
    return {name: round(1000 * median(taken[1:]), 1) for name, taken in times.items()}


if __name__ == "__main__":
    print(json.dumps(precision_times(rounds=12), indent=2))
