"""Names beyond ASCII, streams that accept only ASCII, and files in UTF-8 in every locale.

With LC_ALL=C alone, Python uses UTF-8; tests that need ASCII set PYTHONUTF8=0, too.
"""

import ast
import csv
import io
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from PIL import Image
from support.commands import forked

from resnet_degradation.data.dataset import Arrays
from resnet_degradation.data.sources.digits import load_digits
from resnet_degradation.system.atomic_files import atomic_write
from resnet_degradation.system.encoding import escape_non_utf8, use_ascii_fallback

pytestmark = pytest.mark.long

BIN = Path(sys.executable).parent
ROOT = Path(__file__).parents[2]
ASCII = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
UTF8 = {"LC_ALL": "C.UTF-8"}
TINY = (
    *("data.image_size=8", "recipe.iterations=4", "recipe.batch_size=8", "recipe.pad=1"),
    *("width=0.25", "runtime.num_threads=1"),
)
PHOTOS = (*TINY, "data=folder", 'data.root="fotos-ü"')
# Functions that read or write text, except in binary mode.
OPENING = {"open", "read_text", "write_text", "fdopen", "TextIOWrapper"}


def called(folder: Path, environment: dict[str, str], *command: str | Path) -> str:
    """The output of a command, which must succeed and print no traceback."""
    unset = ("LANG", "LC_CTYPE", "PYTHONIOENCODING", *ASCII)
    inherited = {name: value for name, value in os.environ.items() if name not in unset}
    done = subprocess.run(
        command,
        cwd=folder,
        capture_output=True,
        check=False,
        env=inherited | {"COLUMNS": "100", "OMP_NUM_THREADS": "1"} | environment,
    )
    assert done.returncode == 0, done.stderr.decode()
    assert b"Traceback" not in done.stderr
    return done.stdout.decode("ascii" if environment == ASCII else "utf-8")


def write_photos(root: Path, classes: tuple[str, ...] = ("straße", "größe")) -> None:
    """A folder of images; all names in it have characters beyond ASCII."""
    source = load_digits(12).train
    assert isinstance(source, Arrays)
    for label, name in enumerate(classes):
        images = source.images[source.labels == label]
        for split, first, last in (("train", 0, 8), ("val", 8, 11)):
            (root / split / name).mkdir(parents=True)
            for number, image in enumerate(images[first:last]):
                file = io.BytesIO()
                Image.fromarray(image.permute(1, 2, 0).numpy()).save(file, "png")
                (root / split / name / f"ä{number}.png").write_bytes(file.getvalue())


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """A folder that contains a folder of images, fotos-ü."""
    write_photos(tmp_path / "fotos-ü")
    return tmp_path


@pytest.mark.slow
def test_every_command_works_in_the_c_locale(photos: Path) -> None:
    nets = "study.nets=[{depth: 8, residual: false}, {depth: 8, residual: true}]"
    four = (*PHOTOS, nets, "seeds=[0,1]")
    # Two of the four runs are trained without starting processes, which takes seconds for each.
    assert forked(photos, "resnet-study", "-m", *four, "part=3,4").returncode == 0
    output = called(photos, ASCII, BIN / "resnet-study", *four, "jobs=2")
    assert len(list((photos / "outputs/fotos-ü").iterdir())) == 4
    assert "+- " in output  # ± of the standard deviation
    assert "outputs/studies/quick-fotos-\\xfc-" in output
    assert "+----" in output  # the table's border
    (study,) = (photos / "outputs/studies").iterdir()
    assert study.name.startswith("quick-fotos-ü-")
    for name in ("report.html", "report.md"):
        report = (study / name).read_text("utf-8")
        assert "fotos-ü" in report
        assert "±" in report
    assert "±" not in called(photos, ASCII, BIN / "resnet-study", *PHOTOS, nets, "plan=true")
    run = next((photos / "outputs/fotos-ü").iterdir())
    given = f'run="{run.relative_to(photos)}"'
    output = called(photos, ASCII, BIN / "resnet-eval", given, "protocol=ten-crop")
    assert "evaluations/ten-crop.json" in output
    output = called(photos, ASCII, BIN / "resnet-inspect", given, "what=[responses]")
    assert "report: " in output
    output = called(photos, ASCII, sys.executable, ROOT / "scripts/plot_curves.py", study)
    assert f"{study.name}/curves.png".replace("ü", "\\xfc") in output


def test_a_run_is_the_same_in_every_locale(photos: Path) -> None:
    train = (BIN / "resnet-train", "depth=8", *PHOTOS)
    output = called(photos, ASCII, *train)
    assert "record: outputs/fotos-\\xfc/ResNet-8-" in output
    (folder,) = (photos / "outputs/fotos-ü").iterdir()
    assert json.loads((folder / "classes.json").read_bytes()) == ["größe", "straße"]
    assert f"root: {photos}/fotos-ü" in (folder / "config.yaml").read_text("utf-8")
    again = called(photos, UTF8, *train)
    assert "is already finished: final training error" in again
    assert f"\noutputs/fotos-ü/{folder.name}" in again


@pytest.mark.processes
def test_processes_print_what_the_stream_can_take(photos: Path) -> None:
    output = called(photos, ASCII, BIN / "resnet-train", "depth=8", *PHOTOS, "runtime.devices=2")
    assert "record: outputs/fotos-\\xfc/ResNet-8-" in output


def test_names_that_are_no_text_are_read_recorded_and_shown(photos: Path) -> None:
    """Names that result from unpacking an archive from Windows on Linux."""
    try:
        (photos / "fotos-ü").rename(os.fsdecode(os.fsencode(photos) + b"/fotos-\xfc"))
    except OSError:
        pytest.skip("this file system takes only names in UTF-8")
    for split in ("train", "val"):
        folder = os.fsencode(photos) + b"/fotos-\xfc/" + split.encode()
        os.rename(folder + "/straße".encode(), folder + b"/stra\xdfe")  # noqa: PTH104
    given = os.fsdecode(b'data.root="fotos-\xfc"')
    train = (BIN / "resnet-train", "depth=8", *PHOTOS[:-1], given)
    output = called(photos, UTF8, *train)
    assert "record: outputs/fotos-%FC/ResNet-8-" in output
    (folder,) = (photos / "outputs/fotos-%FC").iterdir()
    assert json.loads((folder / "classes.json").read_bytes()) == ["größe", "stra\udcdfe"]
    given = f'run="outputs/fotos-%FC/{folder.name}"'
    assert "top-1 error" in called(photos, UTF8, BIN / "resnet-eval", given)


@pytest.mark.parametrize(
    ("encoding", "printed"),
    [
        ("ascii", b"25.00 +- 1.20 *, outputs/fotos-\\xfc, ..."),
        ("latin-1", b"25.00 \xb1 1.20 *, outputs/fotos-\xfc, ..."),
        ("utf-8", "25.00 ± 1.20 †, outputs/fotos-ü, …".encode()),
    ],
)
def test_a_stream_gets_what_it_can_take(
    encoding: str, printed: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    written = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(written, encoding))
    use_ascii_fallback()
    print("25.00 ± 1.20 †, outputs/fotos-ü, …", end="", flush=True)
    assert written.getvalue() == printed


def test_text_is_written_as_utf8_and_bytes_of_names_as_they_are(tmp_path: Path) -> None:
    with atomic_write(tmp_path / "skipped.csv") as stream:
        csv.writer(stream).writerow(["ü", os.fsdecode(b"gr\xfcn.png")])
    assert (tmp_path / "skipped.csv").read_bytes() == "ü,".encode() + b"gr\xfcn.png\r\n"


def test_a_byte_that_is_no_text_is_shown_by_its_number() -> None:
    assert escape_non_utf8("fotos-ü") == "fotos-ü"
    assert escape_non_utf8(os.fsdecode(b"100% \xfc")) == "100% %FC"


def unspecified(file: Path) -> Iterator[int]:
    """The lines of a module that open a text file without an encoding."""
    for node in ast.walk(ast.parse(file.read_bytes())):
        if not isinstance(node, ast.Call):
            continue
        name = getattr(node.func, "attr", getattr(node.func, "id", ""))
        given = [*node.args, *(keyword.value for keyword in node.keywords)]
        words = {word.value for word in given if isinstance(word, ast.Constant)} - {True, False}
        as_bytes = any("b" in str(word) and len(str(word)) < 4 for word in words)
        named = "utf-8" in words or any(keyword.arg == "encoding" for keyword in node.keywords)
        owner = ast.unparse(getattr(node.func, "value", ast.Constant("")))
        if name in OPENING and owner not in ("os", "Image") and not as_bytes and not named:
            yield node.lineno


@pytest.mark.parametrize("folder", ["src", "scripts"])
def test_every_file_of_text_is_opened_in_an_encoding_that_is_named(folder: str) -> None:
    files = sorted((ROOT / folder).rglob("*.py"))
    assert files
    assert {str(file): lines for file in files if (lines := list(unspecified(file)))} == {}
