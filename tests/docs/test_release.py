"""The package built by `make wheel` is complete, and works outside of this repository."""

import os
import subprocess
import sys
import sysconfig
import tarfile
import venv
from pathlib import Path

import check_links
import pytest
from support.commands import TINY, call

pytest.importorskip("hatchling", reason="make install-dev installs it")
pytestmark = pytest.mark.long

ROOT = Path(__file__).parents[2]
TOP = {
    *("CHANGELOG.md", "CITATION.cff", "CONTRIBUTING.md", "LICENSE", "Makefile", "PKG-INFO"),
    *("README.md", "conf", "docs", "outputs", "pyproject.toml", "scripts", "src", "tests"),
}
JUNK = {"__pycache__", ".locks", ".DS_Store", ".hypothesis", ".venv", "dist"}


@pytest.fixture(scope="module")
def dist(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The unpacked source distribution, and the wheel that is built from it."""
    folder = tmp_path_factory.mktemp("dist")
    command = [sys.executable, "-m", "build", "--no-isolation", "--outdir", str(folder), str(ROOT)]
    subprocess.run(command, check=True, capture_output=True)
    return folder


def test_the_source_distribution_has_what_its_documentation_shows(
    dist: Path, tmp_path: Path
) -> None:
    (archive,) = dist.glob("*.tar.gz")
    with tarfile.open(archive) as opened:
        opened.extractall(tmp_path, filter="data")
    (root,) = tmp_path.iterdir()
    files = [file.relative_to(root) for file in root.rglob("*")]
    assert {file.parts[0] for file in files} - {".gitignore"} == TOP
    assert not [file for file in files if not JUNK.isdisjoint(file.parts)]
    documents = [file for pattern in check_links.DOCUMENTS for file in root.glob(pattern)]
    assert len(documents) > 10
    assert [line for file in documents for line in check_links.broken_links(file)] == []


def test_the_wheel_trains_in_an_empty_folder(dist: Path, tmp_path: Path) -> None:
    (wheel,) = dist.glob("*.whl")
    fresh, empty = tmp_path / "fresh", tmp_path / "empty"
    empty.mkdir()
    venv.create(fresh)
    (packages,) = fresh.glob("[Ll]ib/**/site-packages")
    # It uses the dependencies of this environment.
    (packages / "these.pth").write_text(sysconfig.get_path("purelib"), "utf-8")
    commands = fresh / ("Scripts" if os.name == "nt" else "bin")
    python = next(commands.glob("python*"))
    pip = (sys.executable, "-m", "pip", "--python", str(python), "install", "--quiet")
    subprocess.run([*pip, "--no-deps", "--no-index", str(wheel)], check=True)
    trained = call(empty, str(commands / "resnet-train"), *TINY, PYTHONPATH="")
    assert trained.returncode == 0, trained.stderr
    (summary,) = empty.glob("outputs/digits/*/summary.json")
    assert '"git_revision": null' in summary.read_text("utf-8")
    drawn = call(empty, str(commands / "resnet-plot"), "outputs", "--formats", "png", PYTHONPATH="")
    assert drawn.stdout.split() == ["outputs/curves.png"], drawn.stderr
    helped = call(empty, str(commands / "resnet-study"), "--help", PYTHONPATH="")
    assert "fig6" in helped.stdout
