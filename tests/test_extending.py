"""The examples of docs/extending.md, written out of that page and run as it says."""

import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from helpers import composed_study

from resnet_degradation.cli import settled
from resnet_degradation.config import run_folder
from resnet_degradation.data.sources import Arrays, Source, load_source
from resnet_degradation.errors import ConfigError, DataError
from resnet_degradation.paper import differences, reference
from resnet_degradation.runs import is_finished
from resnet_degradation.train.net import make_net

PAGE = Path(__file__).parents[1] / "docs/extending.md"
# A fenced block, its language, and the name of a file if it stands before it.
FENCED = re.compile(r"(?:^`([\w./-]+)`\n\n)?^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def write_examples(folder: Path) -> list[str]:
    """Write the page's files; give its commands, one a line."""
    commands = []
    for name, language, content in FENCED.findall(PAGE.read_text()):
        if language:
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_text(content)
        else:
            commands += content.splitlines()
    return commands


def called(command: str, folder: Path) -> str:
    """What a command of this project prints, called in a folder; it has to succeed."""
    name, *arguments = shlex.split(command)
    program = Path(sys.executable).parent / name
    done = subprocess.run(
        [program, *arguments], cwd=folder, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder with the page's files, which is the current one; its modules are forgotten after."""
    write_examples(tmp_path)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    yield tmp_path
    for file in tmp_path.glob("*.py"):
        sys.modules.pop(file.stem, None)


@pytest.mark.slow
def test_the_page_works_word_by_word(tmp_path: Path) -> None:
    commands = write_examples(tmp_path)
    assert len(commands) == 5
    for command in commands:
        last = called(command, tmp_path)
    outputs = tmp_path / "outputs"
    runs = {folder.name.rpartition("-")[0] for folder in outputs.glob("*/*") if is_finished(folder)}
    assert runs == {
        *("ResNet-8-seed0", "ResNet-8-seed1"),
        *("ResNet-8-NoLastReLU-seed0", "ResNet-8-NoLastReLU-seed1"),
    }
    assert len(list((outputs / "zeros").iterdir())) == 1
    (drawn,) = outputs.glob("studies/*/losses.png")
    assert drawn.with_suffix(".pdf").is_file()
    page = (drawn.parent / "report.html").read_text()
    assert "ResNet-8-NoLastReLU minus ResNet-8" in " ".join(last.split())
    assert 'alt="losses"' in page
    (folder,) = (outputs / "digits").glob("*NoLastReLU-seed1*")
    called(f"resnet-eval run={folder}", tmp_path)
    called(f"resnet-inspect run={folder}", tmp_path)


def test_a_block_of_ones_own_takes_the_place_of_the_basic_one(here: Path) -> None:
    own = settled("depth=14", "block=my_blocks:NoLastReLU", f"output_dir={here}")
    usual = settled("depth=14", f"output_dir={here}")
    net, twin = make_net(own, 10), make_net(usual, 10)
    assert {type(block).__name__ for block in net.layer2} == {"NoLastReLU"}  # type: ignore[union-attr]
    for (name, one), (other_name, other) in zip(
        net.state_dict().items(), twin.state_dict().items(), strict=True
    ):
        assert name == other_name
        assert torch.equal(one, other)
    images = torch.randn(4, 3, 16, 16)
    assert not torch.equal(net(images), twin(images))
    assert "blocks my_blocks:NoLastReLU" not in differences(usual)
    assert "blocks my_blocks:NoLastReLU" in differences(own)
    assert reference(own) is None


def test_code_of_ones_own_is_part_of_a_runs_name_and_identity(here: Path) -> None:
    usual = settled("depth=8", f"output_dir={here}")
    block = settled("depth=8", "block=my_blocks:NoLastReLU", f"output_dir={here}")
    data = ("depth=8", "data.name=zeros", f"output_dir={here}")
    loaded = [settled(*data, f"data.loader=my_code:{name}") for name in ("load", "load_2")]
    folders = [run_folder(config) for config in (usual, block, *loaded)]
    assert len({folder.name.rpartition("-")[2] for folder in folders}) == 4
    assert folders[1].name.startswith("ResNet-8-NoLastReLU-seed0-")
    assert folders[2].parent.name == "zeros"


@pytest.mark.parametrize(
    ("overrides", "says"),
    [
        (["block=NoLastReLU"], "give module:attribute, as my_code:MyBlock"),
        (["block=my_blocks:"], "give module:attribute"),
        (["block=my_blocks:NoLastReLU", "depth=50", "family=imagenet"], "without bottlenecks"),
        (["data.loader=my_code:load"], "data.name=digits is not valid with data.loader"),
        (["data.name=../zeros", "data.loader=my_code:load"], "letters, digits"),
        (["data.name=zeros"], "with data.loader=module:function"),
    ],
)
def test_what_cannot_be_is_refused_before_anything_is_built(
    overrides: list[str], says: str
) -> None:
    with pytest.raises(ConfigError, match=re.escape(says)):
        settled(*overrides)


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("no_such_code:Block", "there is no module no_such_code"),
        ("my_blocks.inner:Block", "there is no module my_blocks.inner"),
        ("my_blocks:Missing", "has no Missing"),
        ("my_code:load", "no subclass"),
    ],
)
def test_a_block_that_is_not_there_is_named(here: Path, name: str, says: str) -> None:
    with pytest.raises(ConfigError, match=says):
        make_net(settled(f"block={name}", f"output_dir={here}"), 10)


def test_a_module_that_is_broken_keeps_its_traceback(here: Path) -> None:
    (here / "broken_code.py").write_text("import no_such_library\n")
    with pytest.raises(ModuleNotFoundError, match="no_such_library"):
        make_net(settled("block=broken_code:Block", f"output_dir={here}"), 10)


@pytest.mark.parametrize(
    ("gives", "says"),
    [
        ("None", "a NoneType, not a Source"),
        ("Source(Arrays(i, l), {}, ['a'])", "no held-out images"),
        ("Source(Arrays(i.float(), l), {'val': Arrays(i, l)}, ['a'])", "torch.float32"),
        ("Source(Arrays(i, l), {'val': Arrays(i[:, :1], l)}, ['a'])", r"shape \(2, 1, 16, 16\)"),
        ("Source(Arrays(i, l[:1]), {'val': Arrays(i, l)}, ['a'])", r"shape \(1, 3, 16, 16\)"),
        ("Source(Arrays(i, l.int()), {'val': Arrays(i, l)}, ['a'])", "labels of torch.int32"),
        ("Source(Arrays(i[:0], l[:0]), {'val': Arrays(i, l)}, ['a'])", "without images"),
    ],
)
def test_what_a_loader_gives_is_checked(here: Path, gives: str, says: str) -> None:
    (here / "loading.py").write_text(
        "import torch\n"
        "from resnet_degradation.data.sources import Arrays, Source\n"
        "i, l = torch.zeros(2, 3, 16, 16, dtype=torch.uint8), torch.zeros(2, dtype=torch.int64)\n"
        f"def load(data):\n    return {gives}\n"
    )
    config = settled("data.name=own", "data.loader=loading:load", f"output_dir={here}")
    with pytest.raises(DataError, match=says):
        load_source(config.data)


def test_a_loader_is_told_the_settings_and_a_validation_set_is_split_off(here: Path) -> None:
    config = settled(
        *("data.name=zeros", "data.loader=my_code:load", "data.image_size=24"),
        *("data.validation_fraction=0.1", f"output_dir={here}"),
    )
    source = load_source(config.data)
    assert isinstance(source, Source)
    assert isinstance(source.train, Arrays)
    assert source.train.images.shape == (1350, 3, 24, 24)
    assert {name: len(images) for name, images in source.held_out.items()} == {
        "val": 150, "test": 297
    }  # fmt: skip


def test_two_figures_need_two_names(here: Path) -> None:
    with pytest.raises(ConfigError, match="the same name"):
        composed_study("study.figures=[my_figures:losses,other:losses]", f"output_dir={here}")
    with pytest.raises(ConfigError, match="or a function of your own"):
        composed_study("study.figures=[nothing]", f"output_dir={here}")
