"""Times training steps while other programs run: `make bench ARGS=--busy`.

Variants differ in how idle threads wait. Each runs in a separate process, and they take turns. The
results are medians.
"""

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

# Later imports load torch, because OpenMP reads the environment when it is loaded.
from resnet_degradation.system.process import limit_openmp_spinning

NETS = {
    "quick ResNet-56": ("depth=56", "residual=true"),
    "ResNet-20, 128 of 32x32": (
        *("depth=20", "residual=true", "data.image_size=32", "recipe=cifar"),
        "recipe.batch_size=128",
    ),
}
VARIANTS: dict[str, dict[str, str]] = {
    "this default": {},
    "OpenMP's default": {"GOMP_SPINCOUNT": "300000"},
    "passive waiting": {"OMP_WAIT_POLICY": "passive"},
    "one thread": {"OMP_NUM_THREADS": "1"},
}
# Maps a description to the number of threads of each other program.
OTHERS = {
    "nothing": [],
    "two programs of one thread": [1, 1],
    "two programs of two threads": [2, 2],
}
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
        start_time = time.perf_counter()
        next(steps)
        print(time.perf_counter() - start_time, flush=True)


def multiply_matrices(num_threads: int) -> None:
    """Multiply matrices in this many threads, until the parent process ends."""
    import torch

    torch.set_num_threads(num_threads)
    matrix = torch.randn(700, 700)
    parent = os.getppid()
    while os.getppid() == parent:
        matrix @ matrix


@contextmanager
def run_other_programs(threads: list[int]) -> Iterator[None]:
    """For each number of threads, run a program that multiplies matrices."""
    command = [sys.executable, __file__, "--multiply"]
    programs = [subprocess.Popen([*command, str(number)]) for number in threads]
    try:
        time.sleep(6 if programs else 1)  # they load torch first
        yield
    finally:
        for program in programs:
            program.kill()
            program.wait()


def start_server(overrides: tuple[str, ...], variant: str) -> "subprocess.Popen[str]":
    """Start a process that times steps, and wait until it has built its net."""
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


def time_step(server: "subprocess.Popen[str]") -> float:
    """Return the seconds of one step of a server."""
    assert server.stdin is not None
    assert server.stdout is not None
    server.stdin.write("step\n")
    return float(server.stdout.readline())


def step_times(rounds: int, nets: list[str], programs: list[str]) -> list[dict[str, Any]]:
    """Measure the median milliseconds of a step per net and variant, while programs run."""
    rows = []
    for net in nets:
        servers = {name: start_server(NETS[net], name) for name in VARIANTS}
        try:
            for others in programs:
                times: dict[str, list[float]] = {name: [] for name in servers}
                with run_other_programs(OTHERS[others]):
                    for _ in range(rounds):
                        for name, server in servers.items():
                            time_step(server)  # wakes it up
                            times[name] += [time_step(server) for _ in range(3)]
                ms = {name: round(1000 * median(taken), 1) for name, taken in times.items()}
                rows.append({"net": net, "others": others, "ms": ms})
                print(f"{net}, {others}: {ms}", flush=True)
        finally:
            for server in servers.values():
                server.kill()
                server.wait()
    return rows


def command_times(rounds: int) -> list[dict[str, Any]]:
    """Measure the median seconds of a whole command, while other programs run."""
    program, *overrides = COMMAND.split()
    executable = str(Path(sys.executable).parent / program)
    rows = []
    for others, threads in OTHERS.items():
        times: dict[str, list[float]] = {"this default": [], "OpenMP's default": []}
        with run_other_programs(threads):
            for _ in range(rounds):
                for name, taken in times.items():
                    with tempfile.TemporaryDirectory() as folder:
                        start_time = time.perf_counter()
                        subprocess.run(
                            [executable, *overrides, f"output_dir={folder}"],
                            env=os.environ | VARIANTS[name],
                            stdout=subprocess.DEVNULL,
                            check=True,
                        )
                        taken.append(time.perf_counter() - start_time)
        seconds = {name: round(median(taken), 1) for name, taken in times.items()}
        rows.append({"command": COMMAND, "others": others, "seconds": seconds})
        print(f"{COMMAND}, {others}: {seconds}", flush=True)
    return rows


def table(results: dict[str, Any]) -> list[list[str]]:
    """Make a row for each net (or the command) and each set of other programs."""
    rows = [["net", "other programs", *VARIANTS]]
    for row in results["steps"]:
        rows.append([row["net"], row["others"], *(f"{ms:.1f} ms" for ms in row["ms"].values())])
    for row in results["commands"]:
        taken = [
            f"{row['seconds'][name]:.1f} s" if name in row["seconds"] else "" for name in VARIANTS
        ]
        rows.append([f"`{row['command']}`", row["others"], *taken])
    return rows


def measure_busy(folder: Path, short: bool, command: str) -> None:
    """Measure, print the table, and write busy.json and busy.md."""
    from results import describe_conditions, write_results

    results: dict[str, Any] = describe_conditions(command)
    if short:
        results["steps"] = step_times(1, [*NETS][:1], [*OTHERS][:1])
    else:
        results["steps"] = step_times(5, [*NETS], [*OTHERS])
    results["commands"] = [] if short else command_times(1)
    write_results(folder, "busy", results, table(results))


if __name__ == "__main__":
    kind, *values = sys.argv[1:]
    if kind == "--serve":
        serve_steps(values)
    else:
        multiply_matrices(int(values[0]))
