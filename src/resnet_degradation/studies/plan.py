"""Prints what a study would train, and how long it would take."""

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from resnet_degradation.console.lines import print_line, print_table
from resnet_degradation.studies.cost import plan_costs
from resnet_degradation.studies.definition import Study
from resnet_degradation.system.process import describe_cpu_load
from resnet_degradation.system.processor import has_bf16_instructions, precision_note
from resnet_degradation.training.build import choose_device

# Steps agree if the slowest takes at most this many times as long as the fastest.
STEPS_AGREE = 1.2


def print_plan(study: Study, console: Console, jobs: int = 1) -> None:
    """Print every run of a study, its progress and its remaining cost; train nothing."""
    busy = describe_cpu_load()  # before the measurement loads the machine
    timing = "timing a few training steps"
    if not console.is_terminal:  # where the status is not shown
        print_line(console, timing)
    with console.status(timing):
        costs, notes = plan_costs(study, jobs)
    title = escape(study.drawing.title or study.name)
    table = Table(title=f"{title}: what would be run")
    table.add_column("part", justify="right")
    table.add_column("run", overflow="fold", min_width=9)
    for column in ("state", "iterations", "mult-adds", "time"):
        table.add_column(column, justify="right", no_wrap=True)
    for part, cost in enumerate(costs, 1):
        name = study.name_of(cost.run).replace(" (", "\n(")
        work, seconds = cost.multiply_adds, cost.seconds[1]
        remaining = (f"{work:.1e}", duration(seconds)) if work else ("-", "-")
        table.add_row(str(part), name, cost.state, f"{cost.iterations:,}", *remaining)
    table.add_section()
    # Concurrent runs share the time, but none is faster than alone.
    fastest, usual, slowest = (
        max(sum(seconds) / jobs, *seconds)
        for seconds in zip(*(cost.seconds for cost in costs), strict=True)
    )
    time = duration(usual)
    if slowest > STEPS_AGREE * fastest:
        time += f"\n({duration(fastest)} to {duration(slowest)})"
        notes.append("In brackets: the range from the fastest to the slowest step")
    left = [cost.multiply_adds for cost in costs if cost.multiply_adds]
    remaining = (f"{sum(left):.1e}" if left else "-", time)
    table.add_row("", f"{len(left)} of {len(costs)} runs left", "", "", *remaining)
    print_table(console, table, ("mult-adds", "iterations"))
    if busy and left:
        notes.append(f"{busy[0].upper()}{busy[1:]}: without it, runs are faster than measured now")
    if left and choose_device(study.runs[0]).type == "cpu":
        hint = precision_note(study.runs[0].runtime.precision, has_bf16_instructions())
        notes += [hint] if hint else []
    notes.append(f"Figures, table and report will be in {study.folder}")
    for note in notes:
        print_line(console, note)


def duration(seconds: float) -> str:
    """A time as text, as in "7 min"."""
    if seconds < 99.5:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    if minutes < 100:
        return f"{minutes} min"
    hours = minutes / 60
    return f"{hours:.1f} h" if hours < 48 else f"{hours / 24:.1f} days"
