#!/usr/bin/env python
"""Kill runs, damage checkpoints, mistype configurations, and count failures: `make torture`.

All random choices depend only on --seed.
"""

import argparse
import csv
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
import warnings
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass, field
from functools import partial
from io import StringIO
from pathlib import Path
from statistics import median
from typing import Any
from unittest import mock

import torch
from rich.console import Console
from rich.table import Table
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from resnet_degradation.cli.commands import train
from resnet_degradation.cli.compose import compose_config
from resnet_degradation.config.schema import Config, schema_fields
from resnet_degradation.data.sources.digits import load_digits
from resnet_degradation.records.checkpoint import load_checkpoint
from resnet_degradation.records.metrics import COLUMNS
from resnet_degradation.records.run_folder import checkpoint_files
from resnet_degradation.records.summary import is_finished
from resnet_degradation.system.errors import CheckpointError
from resnet_degradation.training.recorder import SCALARS

TINY = (
    *("depth=8", "width=0.5", "data.image_size=8", "recipe.batch_size=32", "recipe.pad=1"),
    *("runtime.num_threads=1", "runtime.log_every=5", "runtime.eval_every=9"),
    *("recipe.iterations=600", "runtime.checkpoint_every=20"),
)
STREAMED = (
    *("data=imagenet", "data.image_size=16", "depth=18", "width=0.125", "recipe.iterations=80"),
    *("recipe.batch_size=8", "runtime.checkpoint_every=8", "recipe.plateau_every=7"),
    *("recipe.plateau_patience=1", "recipe.pad=0"),
)


@dataclass
class Tally:
    """Counts attempts of each kind, and collects failures."""

    tried: Counter[str] = field(default_factory=Counter)
    failures: list[str] = field(default_factory=list)

    def count(self, kind: str, problem: str | None = None) -> None:
        """Count one attempt. problem: why it failed, if it did."""
        self.tried[kind] += 1
        if problem is not None:
            self.failures.append(f"{kind}: {problem}")


# Killing


@dataclass(frozen=True)
class Case:
    """A kind of run to kill."""

    name: str
    overrides: tuple[str, ...]


def cases(images: Path) -> list[Case]:
    """Return cases with in-memory and streamed data, milestones, warm-up and plateaus."""
    plateaus = ("recipe.schedule=plateau", "recipe.plateau_every=7", "recipe.plateau_patience=1")
    warmup = ("recipe.warmup=always", "recipe.warmup_window=15", "recipe.warmup_until=60")
    return [
        Case("in memory, milestones", TINY),
        Case("in memory, warm-up and plateaus", (*TINY, *plateaus, *warmup)),
        Case("folder, milestones", (*TINY, "data=folder", f"data.root={images}")),
        Case(
            "streamed by two workers, plateaus",
            (*TINY, *STREAMED, f"data.root={images}", "runtime.num_workers=2"),
        ),
    ]


def write_images(root: Path) -> None:
    """Write some of the bundled digits as image files."""
    from torchvision.io import write_png

    source: Any = load_digits(24).train
    for label in range(4):
        images = source.images[source.labels == label]
        for split, part in (("train", images[:20]), ("val", images[20:30])):
            folder = root / split / str(label)
            folder.mkdir(parents=True)
            for number, image in enumerate(part):
                write_png(image, str(folder / f"{number:02d}.png"))


def start_training(overrides: tuple[str, ...], output_dir: Path) -> "subprocess.Popen[str]":
    """Start the command that a user would repeat."""
    return subprocess.Popen(
        [sys.executable, "-m", "resnet_degradation.train", *overrides, f"output_dir={output_dir}"],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )


def find_run(output_dir: Path) -> Path | None:
    """Find the only run folder below `output_dir`; None before it has a record."""
    return next((file.parent for file in output_dir.rglob("metrics.csv")), None)


def kill_at_random_time(
    process: "subprocess.Popen[str]", output_dir: Path, rng: random.Random
) -> bool:
    """Kill a run at a random time; return whether it was still running.

    One run in five is killed while it starts, the others after it has opened its record.
    """

    def record_inode() -> int | None:
        folder = find_run(output_dir)
        return (folder / "metrics.csv").stat().st_ino if folder else None

    if rng.random() < 0.2:
        time.sleep(rng.uniform(0, 3))
    else:
        old_inode = record_inode()
        while process.poll() is None and record_inode() == old_inode:
            time.sleep(0.01)
        time.sleep(rng.uniform(0, 1.5))
    alive = process.poll() is None
    process.kill()
    return alive


def describe_difference(one: Path, other: Path) -> str | None:
    """Describe a difference between two finished runs, except times; None if there is none."""
    columns = [name for name in COLUMNS if name not in ("images_per_second", "seconds")]

    def record(folder: Path) -> list[list[str]]:
        with (folder / "metrics.csv").open(newline="", encoding="utf-8") as stream:
            return [[row[name] for name in columns] for row in csv.DictReader(stream)]

    if record(one) != record(other):
        return "metrics.csv differs"
    if (one / "responses.csv").read_bytes() != (other / "responses.csv").read_bytes():
        return "responses.csv differs"
    checkpoints = [load_checkpoint(folder) for folder in (one, other)]
    for name in ("net", "optimizer", "schedule", "meter"):
        if not are_identical(*(c.parts[name] for c in checkpoints if c is not None)):
            return f"the state of the {name} differs"
    if left := list(other.rglob("*.tmp")):
        return f"{left[0].name} was left behind"
    return events_problem(other)


def are_identical(one: Any, other: Any) -> bool:
    """Whether two states are bit-identical."""
    if isinstance(one, torch.Tensor):
        return torch.equal(one, other)
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(
            are_identical(one[key], other[key]) for key in one
        )
    if isinstance(one, list | tuple):
        return len(one) == len(other) and all(map(are_identical, one, other))
    return bool(one == other)


def events_problem(folder: Path) -> str | None:
    """Describe a difference between TensorBoard's events and the record; None if none."""
    events = EventAccumulator(str(folder), size_guidance={"scalars": 0}).Reload()
    with (folder / "metrics.csv").open(newline="", encoding="utf-8") as stream:
        rows = list(csv.DictReader(stream))
    for tag, column in SCALARS.items():
        recorded = [int(row["iteration"]) for row in rows if row[column]]
        if recorded and [event.step for event in events.Scalars(tag)] != recorded:
            return f"TensorBoard's {tag} has other points than the record"
    return None


def kill_runs(seconds: float, num_kills: int, seed: int, work: Path) -> Tally:
    """Kill runs at least `num_kills` times, and compare each with an uninterrupted run."""
    tally, lock, deadline = Tally(), threading.Lock(), time.monotonic() + seconds
    write_images(work / "images")
    numbers = iter(range(10**6))

    def kill_in_lane(_lane: int) -> None:
        while sum(tally.tried.values()) < num_kills and time.monotonic() < deadline:
            with lock:
                number = next(numbers)
            kinds = cases(work / "images")
            case, rng = kinds[number % len(kinds)], random.Random(f"{seed} {number}")
            overrides = (*case.overrides, f"seed={number}")
            whole, killed = work / f"{number}-whole", work / f"{number}-killed"
            _, said = (reference := start_training(overrides, whole)).communicate(timeout=seconds)
            problem, kills = (f"not started: {said}" if reference.returncode else None), 0
            while problem is None and not ((run := find_run(killed)) and is_finished(run)):
                process = start_training(overrides, killed)
                if kills < 6 and kill_at_random_time(process, killed, rng):
                    kills += 1
                    process.wait()
                    continue
                _, said = process.communicate(timeout=seconds)
                if process.returncode not in (0, -signal.SIGKILL):
                    problem = f"exit {process.returncode}: {said.strip()[-300:]}"
            one, other = find_run(whole), find_run(killed)
            if problem is None:
                problem = describe_difference(one, other) if one and other else "there is no record"
            with lock:
                tally.tried[case.name] += kills
                if problem is not None:
                    tally.failures.append(f"{case.name}, seed {number}: {problem}")
            for folder in (whole, killed):
                shutil.rmtree(folder, ignore_errors=True)

    with ThreadPoolExecutor(2) as lanes:
        list(lanes.map(kill_in_lane, range(2)))
    return tally


# Damaging checkpoints


def damages(newest: bytes, older: bytes, rng: random.Random) -> Iterator[tuple[str, bytes, bytes]]:
    """Yield kinds of damage endlessly: a name, and the damaged contents of both files."""

    def flip(content: bytes, position: int) -> bytes:
        flipped = bytearray(content)
        flipped[position] ^= 1 << rng.randrange(8)
        return bytes(flipped)

    def blank(content: bytes, position: int) -> bytes:
        zeroed = bytearray(content)
        zeroed[position : position + 512] = bytes(len(zeroed[position : position + 512]))
        return bytes(zeroed) if zeroed != content else flip(content, position)

    kinds: dict[str, Callable[[bytes, int], bytes]] = {
        "bit flipped": flip,
        "block of zeros": blank,
        "truncated": lambda content, position: content[:position],
        "empty": lambda _content, _position: b"",
        "bytes added": lambda content, position: content + rng.randbytes(1 + position % 100),
        "random bytes": lambda content, _position: rng.randbytes(len(content)),
    }
    while True:
        yield "swapped", older, newest
        for name, damage in kinds.items():
            one, other = (damage(c, rng.randrange(len(c))) for c in (newest, older))
            yield name, one, other


def damage_checkpoints(num_damaged: int, seed: int, work: Path) -> Tally:
    """Damage the newest checkpoint: the older one must be loaded. Damage both: none must."""
    tally, rng = Tally(), random.Random(seed)
    for number in (0, 1):
        command = start_training(
            (*TINY, "recipe.iterations=40", f"seed={number}"), work / "checkpoints"
        )
        command.communicate()
    runs = sorted(file.parent for file in (work / "checkpoints").rglob("metrics.csv"))
    newest, older = checkpoint_files(runs[0])
    intact, before = newest.read_bytes(), older.read_bytes()
    kinds = damages(intact, before, rng)
    while sum(tally.tried.values()) < num_damaged:
        kind, one, other = next(kinds)
        newest.write_bytes(one)
        both = rng.random() < 0.25
        older.write_bytes(other if both else before)
        try:
            loaded = load_checkpoint(runs[0])
            problem = None if not both and loaded and loaded.iteration == 20 else "loaded as good"
        except CheckpointError:
            problem = None if both else "the older, intact checkpoint was not loaded"
        tally.count(f"{kind}{', both' if both else ''}", problem)
    # An intact checkpoint of another run is refused by the command.
    older.write_bytes(before)
    newest.unlink()
    (runs[0] / "summary.json").unlink()
    shutil.copy(checkpoint_files(runs[1])[0], newest.parent)
    record = (runs[0] / "metrics.csv").read_bytes()
    command = start_training((*TINY, "recipe.iterations=40", "seed=0"), work / "checkpoints")
    _, said = command.communicate()
    refused = command.returncode == 2 and "seed was 1 and is now its default" in said
    untouched = (runs[0] / "metrics.csv").read_bytes() == record
    tally.count("another run's checkpoint", None if refused and untouched else said)
    return tally


# Mistyping configurations

WRONG_BY_TYPE = {
    "int": ["deep", "1.5", "[1]", "{a: 1}", "null", "1e3x", "''"],
    "float": ["fast", "[0.1]", "{a: 1}", "null", "0..1", "''"],
    "bool": ["maybe", "[true]", "{a: true}", "null", "yess"],
    "list": ["word", "3", "{a: 1}", "null"],
}
OUT_OF_RANGE = [
    *("seed=-1", "depth=21", "depth=-20", "depth=0", "depth=7", "width=0", "width=-1", "width=nan"),
    *(
        "width=inf",
        "family=vgg",
        "shortcut=D",
        "shortcut_padding=left",
        "bottleneck_stride=2x2",
        "output_dir=''",
    ),
    *("data.name=mnist", "data.image_size=7", "data.image_size=-32", "data.mean=median"),
    *("data.families=[]", "data.families=[vgg]", "data.validation_fraction=1"),
    *("data.validation_fraction=-0.1", "data.validation_fraction=nan", "recipe.iterations=0"),
    *("recipe.iterations=-5", "recipe.iterations=1.5", "recipe.iterations=ten"),
    *("recipe.iterations=0ep", "recipe.iterations=nanep", "recipe.iterations=1e99"),
    *("recipe.batch_size=0", "recipe.batch_size=1", "recipe.batch_size=-64", "recipe.lr=0"),
    *("recipe.lr=-0.1", "recipe.lr=nan", "recipe.lr=inf", "recipe.momentum=1"),
    *("recipe.momentum=-0.1", "recipe.momentum=nan", "recipe.weight_decay=-1"),
    *("recipe.weight_decay=nan", "recipe.schedule=cosine", "recipe.milestones=[-1]"),
    *("recipe.milestones=[x]", "recipe.milestones=[[1]]", "recipe.milestones=[null]"),
    *("recipe.gamma=0", "recipe.gamma=nan", "recipe.plateau_every=0", "recipe.plateau_patience=0"),
    *("recipe.plateau_threshold=nan", "recipe.warmup=sometimes", "recipe.warmup_lr=0"),
    *("recipe.warmup_until=0", "recipe.warmup_until=101", "recipe.warmup_window=0"),
    *("recipe.augmentation=mixup", "recipe.pad=-1", "recipe.pad=1000", "recipe.scale=[1]"),
    *("recipe.scale=[64,32]", "recipe.colour_std=0.1", "recipe.colour_std=-1"),
    *("runtime.device=tpu", "runtime.devices=0", "runtime.devices=-1", "runtime.precision=int8"),
    *("runtime.num_threads=-1", "runtime.num_threads=99999", "runtime.num_workers=-1"),
    *("runtime.log_every=0", "runtime.eval_every=-3", "runtime.checkpoint_every=often"),
    *("runtime.eval_batch_size=0", "data=mnist", "data=null", "recipe=fast", "runtime=gpu"),
    *("depth=20,56", "seed=0,1", "depth=choice(20,56)"),
]
BROKEN = [
    *(
        "depth",
        "=20",
        "depth=[",
        "depth={",
        "depth=[20",
        "recipe={lr: 0.1",
        "depth='20",
        "--depth=20",
    ),
    *("depth=${nope}", "data.root=${a.b} data=folder", "~depth", "recipe", "depth==20", "a=b=c"),
    *("depth=20)", "recipe.lr=0.1,", "@", "recipe.=1", ".lr=1", "..=1", "depth:20", "recipe..lr=1"),
]
HARMLESS = ["depth=56", "residual=false", "seed=3", "recipe.lr=0.05", "shortcut=B", "data=cifar10"]


def malformed_configurations(rng: random.Random) -> Iterator[tuple[str, list[str]]]:
    """Yield configurations with a mistake endlessly."""
    types = leaf_types()
    letters = "abcdefghijklmnopqrstuvwxyz_"
    while True:
        key = rng.choice([key for key in types if types[key] in WRONG_BY_TYPE])
        misspelt = list(rng.choice(list(types)))
        misspelt[rng.randrange(len(misspelt))] = rng.choice(letters)
        unknown = "".join(rng.choices(letters, k=rng.randrange(1, 12)))
        mistakes = [("wrong type", f"{key}={rng.choice(WRONG_BY_TYPE[types[key]])}")]
        mistakes += [("out of range", rng.choice(OUT_OF_RANGE))]
        mistakes += [("not an override", rng.choice(BROKEN))]
        for name in (
            "".join(misspelt),
            unknown,
            f"recipe.{unknown}",
            f"+{unknown}",
            f"++x.{unknown}",
        ):
            if name not in types and name.rpartition("+")[2] not in group_names(types):
                mistakes.append(("unknown key", f"{name}={rng.choice(['1', 'x', '[]', 'null'])}"))
        for kind, mistake in mistakes:
            others = [h for h in HARMLESS if h.partition("=")[0] != mistake.partition("=")[0]]
            arguments = [*rng.sample(others, rng.randrange(3)), mistake]
            yield kind, rng.sample(arguments, len(arguments))


def leaf_types() -> dict[str, str]:
    """Map every key of a run's configuration that is not a group to its type."""
    default = Config()
    types = {}
    keys = list(schema_fields(Config))
    for key in keys:
        if not any(other.startswith(f"{key}.") for other in keys):
            value: Any = default
            for part in key.split("."):
                value = getattr(value, part)
            types[key] = type(value).__name__
    return types | {"recipe.iterations": "duration", "recipe.plateau_every": "duration"}


def group_names(types: dict[str, str]) -> set[str]:
    """Return the names of groups in dotted keys, and Hydra's own."""
    return {key.partition(".")[0] for key in types if "." in key} | {"hydra"}


def refuse_configurations(num_configurations: int, seed: int, work: Path) -> Tally:
    """Call the command with mistakes. It must answer each in one line and start no run."""
    tally, kinds = Tally(), malformed_configurations(random.Random(seed))
    folder = work / "configurations"
    folder.mkdir()
    while sum(tally.tried.values()) < num_configurations:
        kind, arguments = next(kinds)
        tally.count(kind, check_refusal(arguments, folder))
    return tally


def check_refusal(arguments: list[str], folder: Path) -> str | None:
    """Describe what is wrong with the command's answer to a mistake; None if nothing is."""
    out, err = StringIO(), StringIO()
    train_calls: list[object] = []
    argv = ["resnet-train", *arguments, f"output_dir={folder}"]
    argv = [a for a in argv if "output_dir=''" not in arguments or not a.startswith("output_dir=/")]
    with (
        mock.patch.object(sys, "argv", argv),
        mock.patch("resnet_degradation.training.session.train", lambda *a: train_calls.append(a)),
        redirect_stdout(out),
        redirect_stderr(err),
    ):
        try:
            train()
        except SystemExit as end:
            code = end.code
        except BaseException as error:
            return f"{arguments}: {type(error).__name__}: {error}"
    lines = err.getvalue().splitlines()
    if train_calls:
        return f"{arguments}: the training loop was reached"
    if code != 2 or len(lines) != 1 or not lines[0].startswith("error: ") or out.getvalue():
        return f"{arguments}: exit {code}, {len(lines)} lines: {err.getvalue()[:300]}"
    if any(folder.iterdir()):
        return f"{arguments}: it left {next(folder.iterdir()).name} behind"
    return None


# The cost of checkpoints


def measure_checkpoint_overhead(work: Path, every: int = 500) -> str:
    """Measure the share of a ResNet-20 run's time that checkpoints take."""
    from resnet_degradation.training.build import prepare

    run = prepare(
        compose_config(
            "data.image_size=32", "recipe.batch_size=128", f"output_dir={work / 'overhead'}"
        )
    )
    run.folder.mkdir(parents=True)
    run.net.train()

    def step(images: torch.Tensor, labels: torch.Tensor) -> None:
        loss = torch.nn.functional.cross_entropy(run.net(images), labels)
        run.optimizer.zero_grad()
        loss.backward()
        run.optimizer.step()

    steps, saves = [], []
    for number, batch in enumerate(run.batches.training(0, 25)):
        steps.append(measure_seconds(partial(step, *batch)))
        saves.append(measure_seconds(partial(run.save, number)))
    steps, saves = steps[5:], saves[5:]
    share = 100 * median(saves) / (every * median(steps) + median(saves))
    return (
        f"checkpoints every {every} iterations take {share:.3f} % of a ResNet-20 run (batch 128, "
        f"32x32, {torch.get_num_threads()} threads): {1000 * median(saves):.1f} ms each (at most "
        f"{1000 * max(saves):.1f}), an iteration {1000 * median(steps):.0f} ms (medians of 20)"
    )


def measure_seconds(call: Callable[[], Any]) -> float:
    """Return the seconds that a call takes."""
    start_time = time.perf_counter()
    call()
    return time.perf_counter() - start_time


def main() -> int:
    """Run every part, print attempts and failures; return 1 if anything failed, otherwise 0."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--kills", type=int, default=50, help="at least this many SIGKILLs")
    parser.add_argument("--damaged", type=int, default=200, help="damaged checkpoints")
    parser.add_argument(
        "--configurations", type=int, default=1000, help="configurations with a mistake"
    )
    parser.add_argument("--seconds", type=float, default=600, help="time limit for the SIGKILLs")
    parser.add_argument("--seed", type=int, default=0, help="random seed")
    arguments = parser.parse_args()
    warnings.simplefilter("ignore")
    console = Console()
    parts: list[tuple[str, int, Callable[[int, int, Path], Tally]]] = [
        ("runs killed and compared", arguments.kills, partial(kill_runs, arguments.seconds)),
        ("checkpoints damaged", arguments.damaged, damage_checkpoints),
        ("configurations malformed", arguments.configurations, refuse_configurations),
    ]
    table = Table("", "tried", "failed", "seconds")
    failures: list[str] = []
    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder)
        console.print(measure_checkpoint_overhead(work))
        for name, at_least, part in parts:
            start_time = time.monotonic()
            tally = part(at_least, arguments.seed, work)
            tried = sum(tally.tried.values())
            if tried < at_least:
                tally.failures.append(f"{name}: only {tried} in the time given")
            seconds = f"{time.monotonic() - start_time:.0f}"
            table.add_row(name, str(tried), str(len(tally.failures)), seconds, style="bold")
            for kind, count in sorted(tally.tried.items()):
                table.add_row(f"  {kind}", str(count), "", "")
            failures += tally.failures
    console.print(table)
    for failure in failures:
        console.print(f"FAILED {failure}", markup=False)
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
