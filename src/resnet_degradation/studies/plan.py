"""Prints the runs of a study and how long they would take, without training them."""

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from resnet_degradation.console.lines import print_line, print_table
from resnet_degradation.studies.cost import plan_costs
from resnet_degradation.studies.definition import Study
from resnet_degradation.studies.execute import with_thread_share
from resnet_degradation.system.process import describe_cpu_load
from resnet_degradation.system.processor import has_bf16_instructions, precision_note
from resnet_degradation.training.build import choose_device

# The plan shows a range of times if the longest is more than this many times the shortest.
MIN_RANGE_RATIO = 1.2


def print_plan(study: Study, console: Console, jobs: int = 1) -> None:
    """Print the state and the remaining cost of every run of a study, without training."""
    load_note = describe_cpu_load()  # before the measurement, which loads the CPU
    status = "timing a few training steps"
    if not console.is_terminal:  # console.status would show nothing
        print_line(console, status)
    with console.status(status):
        costs, notes = plan_costs(study, jobs)
    title = escape(study.drawing.title or study.name)
    table = Table(title=f"{title}: what would be run")
    table.add_column("part", justify="right")
    table.add_column("run", overflow="fold", min_width=9)
    for column in ("state", "iterations", "mult-adds", "time"):
        table.add_column(column, justify="right", no_wrap=True)
    for part, cost in enumerate(costs, 1):
        name = study.unique_name(cost.run).replace(" (", "\n(")
        multiply_adds, seconds = cost.multiply_adds, cost.seconds[1]
        is_done = multiply_adds == 0
        remaining = ("-", "-") if is_done else (f"{multiply_adds:.1e}", format_duration(seconds))
        table.add_row(str(part), name, cost.state, f"{cost.iterations:,}", *remaining)
    table.add_section()
    # Running in parallel divides the total time, but not below the time of the longest run.
    fastest, typical, slowest = (
        max(sum(seconds) / jobs, *seconds)
        for seconds in zip(*(cost.seconds for cost in costs), strict=True)
    )
    time = format_duration(typical)
    if slowest > MIN_RANGE_RATIO * fastest:
        time += f"\n({format_duration(fastest)} to {format_duration(slowest)})"
        notes.append("In brackets: the times at the speed of the fastest and of the slowest step")
    unfinished = [cost.multiply_adds for cost in costs if cost.multiply_adds]
    remaining = (f"{sum(unfinished):.1e}" if unfinished else "-", time)
    table.add_row("", f"{len(unfinished)} of {len(costs)} runs left", "", "", *remaining)
    print_table(console, table, ("mult-adds", "iterations"))
    # Finished runs need no device, which this machine may not have.
    uses_cpu = bool(unfinished) and choose_device(study.runs[0]).type == "cpu"
    if load_note and unfinished:
        faster = "the runs may be faster than this estimate"
        if uses_cpu and with_thread_share(study.runs[0], jobs).runtime.num_threads != 1:
            faster += ", and runtime.num_threads=1 may be faster while the cores are busy"
        notes.append(f"{load_note[0].upper()}{load_note[1:]}: {faster}")
    if uses_cpu:
        hint = precision_note(study.runs[0].runtime.precision, has_bf16_instructions())
        notes += [hint] if hint else []
    notes.append(f"Figures, table and report will be in {study.folder}")
    for note in notes:
        print_line(console, note)


def format_duration(seconds: float) -> str:
    """Return a duration as text, such as "7 min"."""
    if seconds < 99.5:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    if minutes < 100:
        return f"{minutes} min"
    hours = minutes / 60
    return f"{hours:.1f} h" if hours < 48 else f"{hours / 24:.1f} days"
