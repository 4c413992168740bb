"""The output of commands fits the terminal, and is plain text if it is redirected."""

import io
import os
import pty
import re
from pathlib import Path

import pytest
from rich.console import Console
from rich.table import Table
from support.commands import BIN, TINY

from resnet_degradation.console.lines import print_line, print_path, print_table
from resnet_degradation.console.progress import RunProgress
from resnet_degradation.console.terminal import Terminal
from resnet_degradation.records.metrics import Row
from resnet_degradation.studies.progress import StudyProgress

CONTROL = re.compile(r"\x1b\][^\x07\x1b]*\x1b\\|\x1b\[[0-9;?]*[a-zA-Z]")
LINK = re.compile(r"\x1b\]8;id=\d+;(file://[^\x1b]*)\x1b\\([^\x1b]*)\x1b\]8;;\x1b\\")


def shown(width: int, *, terminal: bool = True, **settings: object) -> Console:
    """A console that records its output."""
    return Console(
        file=io.StringIO(), width=width, force_terminal=terminal, legacy_windows=False, **settings
    )  # type: ignore[arg-type]


def printed(console: Console) -> str:
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


def lines(console: Console) -> list[str]:
    """The printed text as a terminal shows it, without control codes."""
    return [line.rstrip() for line in re.split(r"\r?\n|\r", CONTROL.sub("", printed(console)))]


def test_a_line_breaks_between_words_in_a_terminal_and_nowhere_else() -> None:
    text = "see /a/path/of/more/than/forty/characters/in/all/report.html for everything else"
    console = shown(40)
    print_line(console, text)
    assert lines(console)[:3] == ["see", text.split()[1], "for everything else"]
    console = shown(40, terminal=False)
    print_line(console, text)
    assert printed(console) == f"{text}\n"


def test_paths_are_links_where_the_terminal_knows_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TERM", "xterm-256color")
    file = tmp_path / "a study/curves ü.png"
    console = shown(40, color_system="standard")
    print_path(console, "figure: ", file, " (.svg)")
    assert LINK.findall(printed(console)) == [(file.as_uri(), str(file))]
    for console in (shown(40, terminal=False), shown(40, color_system="standard", no_color=True)):
        print_path(console, "figure: ", file, " (.svg)")
        assert printed(console) == f"figure: {file} (.svg)\n"


@pytest.mark.parametrize("width", [80, 60, 40])
def test_a_table_leaves_out_columns_before_it_cuts_numbers(width: int) -> None:
    table = Table(title="Final errors (%)")
    table.add_column("net", overflow="fold", min_width=18)
    for name in ("parameters", "training", "validation", "seconds"):
        table.add_column(name, justify="right", no_wrap=True)
    table.add_row("ResNet-20-width0.5", "1,234,567", "12.34 ± 0.56", "23.45 ± 0.67", "123,456")
    console = shown(width)
    print_table(console, table, ("parameters", "seconds"))
    text = "\n".join(lines(console))
    assert max(map(len, text.splitlines())) <= width
    assert ("1,234,567" in text, "123,456" in text) == (width == 80, width == 80)
    for number in ("ResNet-20-width0.5", "12.34 ± 0.56", "23.45 ± 0.67"):
        assert number in text
    assert "…" not in text


def row(iteration: int) -> Row:
    return Row(iteration, 163.2, 0.00316, 1.0, 98.7, None, 87.6, 12_345.0, 1234.5)


@pytest.mark.parametrize("width", [80, 60])
def test_the_progress_of_a_run_fits_a_line(width: int) -> None:
    console = shown(width)
    progress = RunProgress(console)
    progress.begin(0, 64_000, "a run")
    progress.show_row(row(12_345))
    progress.end()
    last = [line for line in lines(console) if "12345/64000" in line][-1]
    assert len(last) <= width
    for part in ("train 98.7%", "test 87.6%", "12345 images/s", "--:--"):
        assert part in last
    assert ("lr 0.00316" in last) == (width == 80)


@pytest.mark.parametrize("width", [80, 60])
def test_the_progress_of_a_study_fits_a_line(width: int) -> None:
    console = shown(width)
    view = StudyProgress(console, {"plain-110": 1.0}, 0)
    with view.bar:
        task = view.bar.add_task("plain-110 seed 0", count="12345/64000", status="", held_out="")
        view.bar.update(task, total=100, completed=40, status="train 98.7%", held_out="val 87.6%")
    last = [line for line in lines(console) if "plain-110" in line][-1]
    assert len(last) <= width
    assert ("12345/64000" if width == 80 else " 40%") in last
    assert "train 98.7% val 87.6%" in last


def test_a_terminal_without_control_codes_gets_lines(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "dumb")
    monkeypatch.setenv("FORCE_COLOR", "1")
    assert not Terminal().is_terminal


@pytest.mark.long
def test_a_run_fits_a_terminal_of_sixty_columns(tmp_path: Path) -> None:
    """Run the command in a pseudo-terminal; with NO_COLOR the bar remains, without colours."""
    process, ours = pty.fork()
    if process == 0:
        os.chdir(tmp_path)
        variables = {"TERM": "xterm-256color", "COLUMNS": "60", "NO_COLOR": "1"}
        command = str(BIN / "resnet-train")
        os.execve(command, [command, *TINY, "runtime.log_every=2"], os.environ | variables)
    text = b""
    try:
        while part := os.read(ours, 65536):
            text += part
    except OSError:  # at the end of the output (Linux)
        pass
    assert os.waitstatus_to_exitcode(os.waitpid(process, 0)[1]) == 0
    assert not re.findall(rb"\x1b\[[0-9;]*(?:3[0-7]|38;[0-9;]+|9[0-7])m", text)
    seen = [line.rstrip() for line in re.split(r"[\r\n]+", CONTROL.sub("", text.decode()))]
    assert any(re.search(r"4/4 train \d.*images/s \d", line) for line in seen)
    assert not [line for line in seen if len(line) > 60 and " " in line]
    assert "final training error" in " ".join(seen)
    assert "tensorboard --logdir outputs" in " ".join(seen)
