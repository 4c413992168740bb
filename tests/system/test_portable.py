"""What can be tested on Linux about other systems. These tests never ran on Windows or macOS."""

import sys
from pathlib import Path

import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser
from support.commands import TINY, call

from resnet_degradation.config.arguments import quote_paths
from resnet_degradation.config.schema import Config

SCRIPT = Path(__file__).parents[1] / "support/without_posix.py"


@pytest.mark.long
def test_a_run_trains_where_modules_calls_and_signals_of_posix_are_missing(tmp_path: Path) -> None:
    done = call(tmp_path, sys.executable, str(SCRIPT), *TINY, "recipe.iterations=2")
    assert done.returncode == 0, done.stderr
    assert "final training error" in done.stdout
    assert done.stderr == ""
    (folder,) = (tmp_path / "outputs/digits").iterdir()
    assert (folder / "summary.json").is_file()


@pytest.mark.parametrize("path", [r"C:\images\new", r"..\My Images", r"C:\a(b)", r"D:\bücher\1"])
def test_paths_of_windows_are_taken_as_they_are_typed(path: str) -> None:
    (argument,) = quote_paths([f"data.root={path}"], Config)
    assert OverridesParser.create().parse_override(argument).value() == path
