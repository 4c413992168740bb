"""Figures do not depend on the user's matplotlib settings, backend, locale or home folder."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from rich.console import Console
from support.studies import quiet, study_of

from resnet_degradation.config.identity import run_folder
from resnet_degradation.config.schema import InspectionConfig
from resnet_degradation.console.progress import NullProgress
from resnet_degradation.inspection.command import inspect
from resnet_degradation.studies.command import run_study

# The backend of notebooks, whose MPLBACKEND the commands of a notebook inherit; it is not
# installed for the tests.
NOTEBOOK = "module://matplotlib_inline.backend_inline"
SETTINGS = """
text.usetex: true
font.family: serif
font.size: 20
mathtext.fontset: cm
axes.formatter.use_locale: true
axes.formatter.limits: -1, 1
axes.formatter.min_exponent: 2
axes.unicode_minus: false
axes.prop_cycle: cycler('color', ['r', 'g'])
axes.linewidth: 4
axes.xmargin: 0.3
lines.linewidth: 5
lines.antialiased: false
figure.figsize: 2, 2
figure.dpi: 37
figure.constrained_layout.use: true
legend.fontsize: 3
savefig.bbox: tight
savefig.format: jpg
savefig.transparent: true
text.hinting: none
svg.fonttype: path
pdf.compression: 0
no.such.key: 1
lines.color: no colour
"""
# Draws every figure of the run folders (a list in JSON) into a folder, by a locale whose decimal
# point is a comma.
DRAW = """
import json, locale, sys
from pathlib import Path
locale._override_localeconv = {"decimal_point": ","}
from resnet_degradation.figures.drawing import Drawing
from resnet_degradation.figures.registry import FIGURES
from resnet_degradation.figures.inspection import load_measurements
from resnet_degradation.figures.style import save_figure
from resnet_degradation.inspection.registry import PROBES
runs, out = [Path(run) for run in json.loads(sys.argv[1])], Path(sys.argv[2])
drawn = {
    name: load(runs, Drawing())(Drawing(title=name), False)
    for name, load in FIGURES.items()
    if name != "grid"
}
logarithmic = Drawing(log=True, x="epoch")
drawn["log"] = FIGURES["curves"](runs, logarithmic)(logarithmic, True)
for name in ("signals", "residuals", "lesions"):
    drawn[name] = PROBES[name].make_figure(load_measurements(runs, name, PROBES[name].row), name)
for name, figure in drawn.items():
    save_figure(figure, out / name, ("png",), dark=name == "log")
"""
# With this, matplotlib has no folder for its cache.
HOMELESS = {"HOME": "/dev/null", "MPLCONFIGDIR": "", "XDG_CONFIG_HOME": "", "XDG_CACHE_HOME": ""}
OWN_FIGURE = """
from matplotlib import pyplot

def own(folders, drawing, dark):
    figure, axes = pyplot.subplots()
    axes.plot([0, 1], [0, 1.5])
    return figure
"""


def run_python(
    folder: Path, *arguments: str, **environment: str
) -> "subprocess.CompletedProcess[str]":
    """Run Python in a folder; matplotlib gets only the given settings."""
    usual = {k: v for k, v in os.environ.items() if k not in ("MPLBACKEND", "MATPLOTLIBRC")}
    return subprocess.run(
        [sys.executable, *arguments],
        cwd=folder, env=usual | environment, capture_output=True, text=True, check=False,
    )  # fmt: skip


def drawn(folder: Path, runs: list[Path], **environment: str) -> dict[str, bytes]:
    """The content of every figure, drawn by a process in this folder, which must print nothing."""
    arguments = ("-c", DRAW, json.dumps([str(run) for run in runs]), "figures")
    done = run_python(folder, *arguments, **environment)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    return {file.name: file.read_bytes() for file in sorted((folder / "figures").iterdir())}


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Finished and inspected runs of four tiny nets."""
    folder = tmp_path_factory.mktemp("study")
    study = study_of(folder, "study.figures=[curves,responses]")
    run_study(study, quiet())
    folders = [run_folder(run).resolve() for run in study.runs]
    asked = InspectionConfig(run=[str(run) for run in folders], output_dir=str(folder), images=20)
    inspect(asked, Console(quiet=True), NullProgress())
    return folders


@pytest.fixture(scope="module")
def usual(runs: list[Path], tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """Every figure, drawn without settings of the user."""
    figures = drawn(tmp_path_factory.mktemp("usual"), runs)
    assert len(figures) == 7
    return figures


@pytest.mark.slow
@pytest.mark.parametrize(
    ("backend", "settings"),
    [
        (NOTEBOOK, "working directory"),
        ("nonsense", "MATPLOTLIBRC, and a home that cannot be written"),
        ("tkagg", "MPLCONFIGDIR"),
    ],
)
def test_figures_do_not_depend_on_the_users_settings(
    tmp_path: Path, runs: list[Path], usual: dict[str, bytes], backend: str, settings: str
) -> None:
    folder = tmp_path / "settings"
    folder.mkdir()
    (folder / "matplotlibrc").write_text(SETTINGS)
    work = folder if settings == "working directory" else tmp_path
    environment = {
        "MATPLOTLIBRC, and a home that cannot be written": (
            {"MATPLOTLIBRC": str(folder)} | HOMELESS
        ),
        "MPLCONFIGDIR": {"MPLCONFIGDIR": str(folder)},
    }.get(settings, {})
    assert drawn(work, runs, MPLBACKEND=backend, **environment) == usual


@pytest.mark.parametrize(
    "content", ["# größe".encode("latin-1"), b"axes.formatter.use_locale: true"]
)
def test_a_damaged_matplotlibrc_is_an_error_in_one_line(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "matplotlibrc").write_bytes(content)
    code = "from resnet_degradation.cli.commands import study; study()"
    done = run_python(tmp_path, "-c", code, "plan=true", LC_ALL="xx_XX.UTF-8")
    assert done.returncode == 2, done.stdout
    assert done.stderr.startswith("error: matplotlib cannot read its settings")
    assert len(done.stderr.splitlines()) == 1


def test_user_settings_of_matplotlib_still_apply_to_user_code(tmp_path: Path) -> None:
    (tmp_path / "matplotlibrc").write_text("font.size: 20\nbackend: agg\n")
    code = (
        "from resnet_degradation.figures.style import rc; import matplotlib as mpl\n"
        "with mpl.rc_context(rc()): print(mpl.rcParams['font.size'])\n"
        "print(mpl.rcParams['font.size'], mpl.get_backend())"
    )
    done = run_python(tmp_path, "-c", code, MPLBACKEND="svg")
    assert done.stdout.split() == ["9.0", "20.0", "svg"], done.stderr


@pytest.mark.slow
def test_a_study_ends_alike_with_any_settings(tmp_path: Path) -> None:
    """The figures of the study, its page, and a figure by a custom function."""
    nets = "study.nets=[{depth: 8, residual: false}, {depth: 8, residual: true}]"
    arguments = (
        *(
            "-c",
            "from resnet_degradation.cli.commands import study; study()",
            nets,
            "data.image_size=8",
        ),
        *("recipe.iterations=4", "recipe.batch_size=32", "recipe.pad=1", "runtime.num_threads=1"),
        "study.figures=[curves,own_figure:own]",
    )
    (tmp_path / "own_figure.py").write_text(OWN_FIGURE)
    results = []
    for environment in ({}, {"MPLBACKEND": NOTEBOOK, **HOMELESS}):
        done = run_python(tmp_path, *arguments, **environment)
        assert (done.returncode, done.stderr) == (0, ""), done.stderr
        (study,) = (tmp_path / "outputs/studies").iterdir()
        results.append({file.name: file.read_bytes() for file in sorted(study.iterdir())})
        (tmp_path / "matplotlibrc").write_text(SETTINGS)
    assert {"curves.png", "own.png", "report.html"} <= results[0].keys()
    assert results[0] == results[1]
