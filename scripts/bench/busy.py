"""Times a training step beside other programs: `python scripts/bench/busy.py`.

The variants run in separate processes and take turns; medians are reported.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from statistics import median
from typing import Any

# torch is imported where it is used: OpenMP reads the environment when it is loaded.
from resnet_degradation.system.process import limit_openmp_spinning

NETS = {
    "quick ResNet-56": ("depth=56", "residual=true"),
    "ResNet-20, 128 of 32x32": (
        *("depth=20", "residual=true", "data.image_size=32", "recipe=cifar"),
        "recipe.batch_size=128",
    ),
}
VARIANTS: dict[str, dict[str, str]] = {
    "default": {},
    "OpenMP's default": {"GOMP_SPINCOUNT": "300000"},
    "passive": {"OMP_WAIT_POLICY": "passive"},
    "one thread": {"OMP_NUM_THREADS": "1"},
}
# The number of threads of each other program.
OTHERS = {"idle": [], "two of one thread": [1, 1], "two of two threads": [2, 2]}
COMMAND = "resnet-train depth=56 recipe.iterations=60"


def serve_steps(overrides: list[str]) -> None:
    """Time one training step for every line on standard input."""
    limit_openmp_spinning()
    from steps import trainer_steps

    from resnet_degradation.cli.compose import compose_config
    from resnet_degradation.training.build import prepare

    steps = trainer_steps(prepare(compose_config("output_dir=/nowhere", *overrides)))
    for _ in range(2):
        next(steps)
    print("ready", flush=True)
    for _ in sys.stdin:
        began = time.perf_counter()
        next(steps)
        print(time.perf_counter() - began, flush=True)


def multiply_matrices(num_threads: int) -> None:
    """Keep this many threads busy with matrix products, forever."""
    import torch

    torch.set_num_threads(num_threads)
    matrix = torch.randn(700, 700)
    while True:
        matrix @ matrix


@contextmanager
def other_programs(threads: list[int]) -> Iterator[None]:
    """Run a program that multiplies matrices for each number of threads."""
    me = [sys.executable, __file__, "--multiply"]
    programs = [subprocess.Popen([*me, str(number)]) for number in threads]
    try:
        time.sleep(6 if programs else 1)  # they load torch first
        yield
    finally:
        for program in programs:
            program.kill()
            program.wait()


def start_server(overrides: tuple[str, ...], variant: str) -> "subprocess.Popen[str]":
    """A process that has built its net and waits."""
    threads = ["runtime.num_threads=1"] if variant == "one thread" else []
    server = subprocess.Popen(
        [sys.executable, __file__, "--serve", *overrides, *threads],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        bufsize=1,
        env=os.environ | VARIANTS[variant],
    )
    assert server.stdout is not None
    while server.stdout.readline().strip() != "ready":
        if server.poll() is not None:
            raise RuntimeError(f"the process of {variant} has ended")
    return server


def timed_step(server: "subprocess.Popen[str]") -> float:
    """Seconds of one step of a server."""
    assert server.stdin is not None
    assert server.stdout is not None
    server.stdin.write("step\n")
    return float(server.stdout.readline())


def step_times(rounds: int) -> list[dict[str, Any]]:
    """Median milliseconds of a step of each net and variant, beside each kind of other programs."""
    rows = []
    for net, overrides in NETS.items():
        servers = {name: start_server(overrides, name) for name in VARIANTS}
        try:
            for others, threads in OTHERS.items():
                times: dict[str, list[float]] = {name: [] for name in servers}
                with other_programs(threads):
                    for _ in range(rounds):
                        for name, server in servers.items():
                            timed_step(server)  # wakes it up
                            times[name] += [timed_step(server) for _ in range(3)]
                ms = {name: round(1000 * median(taken), 1) for name, taken in times.items()}
                rows.append({"net": net, "others": others, "ms": ms})
                print(f"{net}, {others}: {ms}", flush=True)
        finally:
            for server in servers.values():
                server.kill()
                server.wait()
    return rows


def command_times(rounds: int) -> list[dict[str, Any]]:
    """Median seconds of a whole command, beside each kind of other programs."""
    program, *overrides = COMMAND.split()
    executable = str(Path(sys.executable).parent / program)
    rows = []
    for others, threads in OTHERS.items():
        times: dict[str, list[float]] = {"default": [], "OpenMP's default": []}
        with other_programs(threads):
            for _ in range(rounds):
                for name, taken in times.items():
                    with tempfile.TemporaryDirectory() as folder:
                        began = time.perf_counter()
                        subprocess.run(
                            [executable, *overrides, f"output_dir={folder}"],
                            env=os.environ | VARIANTS[name],
                            stdout=subprocess.DEVNULL,
                            check=True,
                        )
                        taken.append(time.perf_counter() - began)
        seconds = {name: round(median(taken), 1) for name, taken in times.items()}
        rows.append({"command": COMMAND, "others": others, "seconds": seconds})
        print(f"{COMMAND}, {others}: {seconds}", flush=True)
    return rows


def main() -> None:
    """Measure, print, and write JSON."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--output", default="outputs/bench", help="folder for the results")
    parser.add_argument("--serve", nargs="*", help=argparse.SUPPRESS)
    parser.add_argument("--multiply", type=int, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.serve is not None:
        serve_steps(arguments.serve)
    elif arguments.multiply is not None:
        multiply_matrices(arguments.multiply)
    else:
        results: dict[str, Any] = {
            "steps": step_times(arguments.rounds),
            "commands": command_times(max(1, arguments.rounds // 2)),
        }
        import torch

        from resnet_degradation.training.describe import environment

        results["environment"] = environment(torch.device("cpu"))
        folder = Path(arguments.output)
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "busy.json").write_text(json.dumps(results, indent=2) + "\n", "utf-8")


if __name__ == "__main__":
    main()
