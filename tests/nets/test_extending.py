"""The examples of docs/extending.md are written to files and run in the way that the page says."""

import re
import shlex
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from support.commands import forked
from support.studies import composed_study
from support.training import TrainRun, assert_equal_states, final_state
from torch.nn import functional as F

from resnet_degradation.cli.compose import compose_config
from resnet_degradation.config.identity import run_folder
from resnet_degradation.config.schema import InspectionConfig
from resnet_degradation.console.progress import RunProgress
from resnet_degradation.data.dataset import Arrays, Source
from resnet_degradation.data.sources.load import load_source
from resnet_degradation.inspection.command import inspect
from resnet_degradation.nets.blocks import BasicBlock
from resnet_degradation.nets.build import make_net
from resnet_degradation.nets.resnet import ResNet
from resnet_degradation.probes.errors import top1_error
from resnet_degradation.probes.layer_stats import measure_layer_stats
from resnet_degradation.probes.lesions import bypass_blocks, shape_preserving_blocks
from resnet_degradation.probes.residual_norms import measure_residual_norms
from resnet_degradation.probes.responses import measure_responses
from resnet_degradation.records.layers import read_responses
from resnet_degradation.records.metrics import read_metrics
from resnet_degradation.records.run_folder import checkpoint_files, last_checkpoint_iteration
from resnet_degradation.records.summary import is_finished, read_final_errors
from resnet_degradation.reference.paper import find_reference, list_differences
from resnet_degradation.system.errors import ConfigError, DataError
from resnet_degradation.training.load_run import load_trained_net

PAGE = Path(__file__).parents[2] / "docs/extending.md"
# A fenced block: its language, and the name of the file if the text before it gives one.
FENCED = re.compile(r"(?:^`([\w./-]+)`\n\n)?^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def write_examples(folder: Path) -> list[str]:
    """Write the page's files; return its commands, one per line."""
    commands = []
    for name, language, content in FENCED.findall(PAGE.read_text()):
        if language:
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_text(content)
        else:
            commands += content.splitlines()
    return commands


def called(command: str, folder: Path) -> str:
    """The output of a command of this project in a folder; the command must succeed."""
    name, *arguments = shlex.split(command)
    done = forked(folder, name, *arguments)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The current folder, with the page's files; modules imported from it are removed again."""
    write_examples(tmp_path)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    yield tmp_path
    for file in tmp_path.glob("*.py"):
        sys.modules.pop(file.stem, None)


@pytest.mark.long
@pytest.mark.slow
def test_the_page_works_word_by_word(tmp_path: Path) -> None:
    commands = write_examples(tmp_path)
    assert len(commands) == 6
    *commands, inspection = commands
    for command in commands:
        last = called(command, tmp_path)
    assert "small, mean over rows: ResNet-8" in " ".join(called(inspection, tmp_path).split())
    (table, *_) = (tmp_path / "outputs/digits").glob("*/inspection/small_weights.csv")
    assert len(table.read_text().splitlines()) == 1 + 7  # the convolutions of ResNet-8
    outputs = tmp_path / "outputs"
    runs = {folder.name.rpartition("-")[0] for folder in outputs.glob("*/*") if is_finished(folder)}
    assert runs == {
        f"ResNet-8{block}-seed{seed}" for block in ("", "-NoLastReLU") for seed in range(3)
    }
    assert len(list((outputs / "zeros").iterdir())) == 1
    (drawn,) = outputs.glob("studies/*/losses.png")
    assert drawn.with_suffix(".pdf").is_file()
    page = (drawn.parent / "report.html").read_text()
    assert "ResNet-8-NoLastReLU minus ResNet-8" in " ".join(last.split())
    assert 'alt="losses. ' in page
    (folder,) = (outputs / "digits").glob("*NoLastReLU-seed1*")
    called(f"resnet-eval run={folder}", tmp_path)
    called(f"resnet-inspect run={folder}", tmp_path)


def test_a_custom_block_replaces_the_basic_block(here: Path) -> None:
    own = compose_config("depth=14", "block=my_blocks:NoLastReLU", f"output_dir={here}")
    usual = compose_config("depth=14", f"output_dir={here}")
    net, twin = make_net(own, 10), make_net(usual, 10)
    assert {type(block).__name__ for block in net.layer2} == {"NoLastReLU"}  # type: ignore[union-attr]
    for (name, one), (other_name, other) in zip(
        net.state_dict().items(), twin.state_dict().items(), strict=True
    ):
        assert name == other_name
        assert torch.equal(one, other)
    images = torch.randn(4, 3, 16, 16)
    assert not torch.equal(net(images), twin(images))
    assert "blocks my_blocks:NoLastReLU" not in list_differences(usual)
    assert "blocks my_blocks:NoLastReLU" in list_differences(own)
    assert find_reference(own) is None


def test_custom_code_is_part_of_a_runs_name_and_identity(here: Path) -> None:
    usual = compose_config("depth=8", f"output_dir={here}")
    block = compose_config("depth=8", "block=my_blocks:NoLastReLU", f"output_dir={here}")
    data = ("depth=8", "data.name=zeros", f"output_dir={here}")
    loaded = [compose_config(*data, f"data.loader=my_code:{name}") for name in ("load", "load_2")]
    folders = [run_folder(config) for config in (usual, block, *loaded)]
    assert len({folder.name.rpartition("-")[2] for folder in folders}) == 4
    assert folders[1].name.startswith("ResNet-8-NoLastReLU-seed0-")
    assert folders[2].parent.name == "zeros"


@pytest.mark.parametrize(
    ("overrides", "says"),
    [
        (["block=NoLastReLU"], "use module:attribute, such as my_code:MyBlock"),
        (["block=my_blocks:"], "use module:attribute"),
        (["block=my_blocks:NoLastReLU", "depth=50", "family=imagenet"], "without bottlenecks"),
        (["data.loader=my_code:load"], "data.name=digits is not valid with data.loader"),
        (["data.name=../zeros", "data.loader=my_code:load"], "letters, digits"),
        (["data.name=zeros"], "set data.loader=module:function"),
    ],
)
def test_what_cannot_be_is_refused_before_anything_is_built(
    overrides: list[str], says: str
) -> None:
    with pytest.raises(ConfigError, match=re.escape(says)):
        compose_config(*overrides)


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("no_such_code:Block", "no module no_such_code is installed"),
        ("my_blocks.inner:Block", "no module my_blocks.inner is installed"),
        ("my_blocks:Missing", "has no Missing"),
        ("my_code:load", "is not a subclass"),
        ("resnet_degradation.nets.blocks:Block", "no integer `expansion`"),
        ("few_arguments:Few", r"must take in_channels, channels, stride, residual, shortcut"),
    ],
)
def test_a_block_that_cannot_be_built_is_named(here: Path, name: str, says: str) -> None:
    (here / "few_arguments.py").write_text(
        "from resnet_degradation.nets.blocks import BasicBlock\n"
        "class Few(BasicBlock):\n"
        "    def __init__(self, in_channels, channels, stride=1): pass\n"
    )
    with pytest.raises(ConfigError, match=says):
        make_net(compose_config(f"block={name}", f"output_dir={here}"), 10)


def test_a_module_that_is_broken_keeps_its_traceback(here: Path) -> None:
    (here / "broken_code.py").write_text("import no_such_library\n")
    with pytest.raises(ModuleNotFoundError, match="no_such_library"):
        make_net(compose_config("block=broken_code:Block", f"output_dir={here}"), 10)


@pytest.mark.parametrize(
    ("gives", "says"),
    [
        ("None", "a NoneType, not a Source"),
        ("Source(Arrays(i, l), {}, ['a'])", "held-out splits none: expected val, test or both"),
        ("Source(Arrays(i, l), {'dev': Arrays(i, l)}, ['a'])", "held-out splits dev: expected val"),
        ("Source(Arrays(i, l + 1), {'val': Arrays(i, l)}, ['a'])", "labels from 1 to 1 for train"),
        ("Source(Arrays(i, l), {'val': Arrays(i, l - 1)}, ['a'])", "labels from -1 to -1 for val"),
        ("Source(Arrays(i.float(), l), {'val': Arrays(i, l)}, ['a'])", "torch.float32"),
        ("Source(Arrays(i, l), {'val': Arrays(i[:, :1], l)}, ['a'])", r"shape \(2, 1, 16, 16\)"),
        ("Source(Arrays(i, l[:1]), {'val': Arrays(i, l)}, ['a'])", r"shape \(1, 3, 16, 16\)"),
        ("Source(Arrays(i, l.int()), {'val': Arrays(i, l)}, ['a'])", "labels of torch.int32"),
        ("Source(Arrays(i[:0], l[:0]), {'val': Arrays(i, l)}, ['a'])", "no train images"),
    ],
)
def test_what_a_loader_gives_is_checked(here: Path, gives: str, says: str) -> None:
    (here / "loading.py").write_text(
        "import torch\n"
        "from resnet_degradation.data.sources import Arrays, Source\n"
        "i, l = torch.zeros(2, 3, 16, 16, dtype=torch.uint8), torch.zeros(2, dtype=torch.int64)\n"
        f"def load(data):\n    return {gives}\n"
    )
    config = compose_config("data.name=own", "data.loader=loading:load", f"output_dir={here}")
    with pytest.raises(DataError, match=says):
        load_source(config.data)


OWN_BLOCKS = """
import torch
from torch import nn
from torch.nn import functional as F
from resnet_degradation.nets.blocks import BasicBlock, conv3x3


class Random(BasicBlock):
    def forward(self, x):
        return super().forward(F.dropout(x, 0.3, self.training))


class HalfTrained(BasicBlock):
    def __init__(self, *shape):
        super().__init__(*shape)
        self.conv2.requires_grad_(False)
        self.unused = nn.Parameter(torch.ones(3))


class Counting(BasicBlock):
    def __init__(self, in_channels, channels, *shape):
        super().__init__(in_channels, channels, *shape)
        self.own_norm = nn.InstanceNorm2d(in_channels, track_running_stats=True)

    def forward(self, x):
        return super().forward(self.own_norm(x))


class Longer(BasicBlock):
    def __init__(self, in_channels, channels, *shape):
        super().__init__(in_channels, channels, *shape)
        self.inner = nn.Sequential(conv3x3(channels, channels), nn.BatchNorm2d(channels))
        self.conv3 = conv3x3(channels, channels)

    def branch(self, x):
        x = self.conv2(F.relu(self.bn1(self.conv1(x))))
        return self.bn2(self.conv3(self.inner(x)))


class Weak(BasicBlock):
    def branch(self, x):
        return 0.1 * super().branch(x)


class WeakInside(BasicBlock):
    def branch(self, x):
        return self.bn2(torch.tanh(self.conv2(F.relu(self.bn1(self.conv1(x))))))


class HalfShortcut(BasicBlock):
    def shortcut(self, x):
        return 0.5 * super().shortcut(x)


class OwnForward(BasicBlock):
    def forward(self, x):
        return F.relu(self.branch(x) + (self.shortcut(x) if self.residual else 0)) + 1


class AllInForward(BasicBlock):
    def forward(self, x):
        out = self.bn2(self.conv2(F.relu(self.bn1(self.conv1(x)))))
        return F.relu(0.1 * out + (self.shortcut(x) if self.residual else 0))


class UnusedBranch(AllInForward):
    def branch(self, x):
        return 0.1 * super().branch(x)


class UnusedShortcut(BasicBlock):
    def shortcut(self, x):
        return 2 * x

    def forward(self, x):
        return F.relu(self.branch(x))


class BeforeLastNorm(BasicBlock):
    def before_last_norm(self, x):
        return x, self.bn2


class ModuleAsMethod(BasicBlock):
    def __init__(self, in_channels, channels, stride, residual, shortcut):
        super().__init__(in_channels, channels, stride, residual, shortcut)
        self.shortcut = nn.Sequential(nn.Conv2d(in_channels, channels, 1, stride))


class Nested(BasicBlock):
    def __init__(self, in_channels, channels, stride, residual, shortcut):
        super().__init__(in_channels, channels, stride, residual, shortcut)
        del self.conv1, self.bn1, self.conv2
        self.inner = nn.Sequential(
            conv3x3(in_channels, channels, stride), nn.BatchNorm2d(channels), nn.ReLU(),
            conv3x3(channels, channels),
        )

    def branch(self, x):
        return self.bn2(self.inner(x))
"""


OVERRIDES = ["Weak", "WeakInside", "HalfShortcut", "OwnForward", "AllInForward"]


@pytest.mark.parametrize(
    "kind", ["Random", "HalfTrained", "Counting", "Nested", "Weak", "HalfShortcut", "OwnForward"]
)
def test_a_custom_block_trains_the_same_with_activation_checkpointing(
    here: Path, train_run: TrainRun, kind: str
) -> None:
    (here / "own_blocks.py").write_text(OWN_BLOCKS)
    ends = []
    for how in ("off", "on"):
        folder = train_run(
            compose_config(
                *("depth=8", f"block=own_blocks:{kind}", "data.image_size=8", "seed=1"),
                *("recipe.iterations=6", f"output_dir={here / how}"),
                f"runtime.checkpoint_activations={how}",
            )
        )
        ends.append(final_state(folder)["net"])
    assert_equal_states(*ends)


def test_random_numbers_in_a_custom_block_depend_only_on_seed_and_iteration(
    here: Path, train_run: TrainRun
) -> None:
    (here / "own_blocks.py").write_text(OWN_BLOCKS)
    ends = []
    for which in ("whole", "resumed"):
        config = compose_config(
            *("depth=8", "block=own_blocks:Random", "data.image_size=8", "recipe.iterations=6"),
            *("runtime.checkpoint_every=4", f"output_dir={here / which}"),
        )
        torch.manual_seed(len(which))  # so that earlier random numbers do not matter
        folder = train_run(config)
        if which == "resumed":
            for file in ("summary.json", "checkpoints/" + checkpoint_files(folder)[0].name):
                (folder / file).unlink()
            assert last_checkpoint_iteration(folder) == 4
            train_run(config)
        ends.append(final_state(folder)["net"])
    assert_equal_states(*ends)


def test_a_custom_block_is_inspected_by_what_it_computes(here: Path, train_run: TrainRun) -> None:
    (here / "own_blocks.py").write_text(OWN_BLOCKS)
    common = ("depth=8", "data.image_size=8", "recipe.iterations=4", f"output_dir={here}")
    # The block's third convolution has a normalization after it, though under another name.
    folder = train_run(compose_config(*common, "block=own_blocks:Longer"))
    names = [response.name for response in read_responses(folder)]
    assert names[:4] == ["conv1", "layer1.0.conv1", "layer1.0.inner.0", "layer1.0.conv3"]
    net = make_net(compose_config(*common, "block=own_blocks:Nested"), 10).eval()
    assert list(shape_preserving_blocks(net)) == ["layer1.0"]
    # Without F(x), the block of the page is the identity, unlike other blocks, which have a ReLU.
    net = make_net(compose_config(*common, "block=my_blocks:NoLastReLU"), 10).eval()
    block, x = net.get_submodule("layer1.0"), torch.randn(2, 16, 8, 8)
    with bypass_blocks([block]):  # type: ignore[list-item]
        assert torch.equal(block(x), x)
    assert not torch.equal(block(x), x)


def nets_of(here: Path, kind: str, residual: bool = True) -> tuple[ResNet, ResNet]:
    """A net of one of OWN_BLOCKS and one of basic blocks, with the same weights."""
    (here / "own_blocks.py").write_text(OWN_BLOCKS)
    common = ("depth=8", f"residual={residual}", "data.image_size=8", f"output_dir={here}")
    own, usual = (
        make_net(compose_config(*common, *block), 10)
        for block in ([f"block=own_blocks:{kind}"], [])
    )
    return own, usual


@pytest.mark.parametrize("kind", OVERRIDES)
@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("residual", [True, False])
def test_what_a_block_overrides_changes_the_loss(
    here: Path, kind: str, training: bool, residual: bool
) -> None:
    """In training and in evaluation mode."""
    nets = nets_of(here, kind, residual=residual)
    torch.manual_seed(0)
    images, labels = torch.rand(16, 3, 8, 8), torch.arange(16) % 10
    losses = []
    for net in nets:
        net.train(training)
        losses += [float(F.cross_entropy(net(images), labels).detach())]
    if kind == "HalfShortcut" and not residual:
        assert losses[0] == losses[1]  # a plain net has no shortcuts
    else:
        assert losses[0] != pytest.approx(losses[1], rel=1e-5)


@pytest.mark.parametrize("kind", OVERRIDES)
def test_what_a_block_overrides_changes_the_record_and_the_evaluation(
    here: Path, train_run: TrainRun, kind: str
) -> None:
    (here / "own_blocks.py").write_text(OWN_BLOCKS)
    ends, losses, errors = [], [], []
    for block in ([f"block=own_blocks:{kind}"], []):
        config = compose_config(
            *("depth=8", "data.image_size=8", "recipe.iterations=3", f"output_dir={here}"),
            *("runtime.log_every=1", *block),
        )
        folder = train_run(config)
        trained = load_trained_net(folder, config.runtime, torch.device("cpu"), 500)
        ends.append(trained.net)
        losses.append([row.train_loss for row in read_metrics(folder)])
        errors.append(top1_error(trained.net, trained.batches, "val"))
        assert errors[-1] == pytest.approx(read_final_errors(folder).val_error, abs=1e-6)
    assert losses[0][0] != pytest.approx(losses[1][0], rel=1e-3)


def test_a_block_that_scales_its_branch_computes_equation_1_with_it(here: Path) -> None:
    own, usual = nets_of(here, "Weak")
    images = torch.randn(4, 16, 8, 8).relu()
    for training in (False, True):
        one, other = (net.train(training).get_submodule("layer1.0") for net in (own, usual))
        out = other.bn2(other.conv2(F.relu(other.bn1(other.conv1(images)))))  # type: ignore[operator]
        torch.testing.assert_close(one(images), F.relu(0.1 * out + images))
        # A function that replaces a method is used, too.
        other.branch = lambda x, norm=other: 0.1 * BasicBlock.branch(norm, x)
        torch.testing.assert_close(other(images), F.relu(0.1 * out + images))
        del other.branch


def test_what_a_block_overrides_is_inspected(here: Path) -> None:
    images = torch.rand(32, 3, 8, 8)
    sizes = {}
    for kind in ("Weak", "HalfShortcut"):
        own, usual = nets_of(here, kind)
        sizes[kind] = measure_residual_norms(own, [images])[0]
        sizes["basic"] = measure_residual_norms(usual, [images])[0]
    assert sizes["Weak"].branch == pytest.approx(0.1 * sizes["basic"].branch, rel=1e-5)
    assert sizes["HalfShortcut"].shortcut == pytest.approx(0.5 * sizes["basic"].shortcut, rel=1e-5)
    identities = [sizes[kind].is_identity for kind in ("basic", "Weak", "HalfShortcut")]
    assert identities == [True, True, False]
    # A layer without a normalization directly after it has no response.
    own, usual = nets_of(here, "WeakInside")
    one, other = ({r.name for r in measure_responses(net, [images])} for net in (own, usual))
    assert other - one == {f"layer{stage}.0.conv2" for stage in (1, 2, 3)}
    signals = [
        measure_layer_stats(net, images, torch.arange(32) % 10, 0) for net in nets_of(here, "Weak")
    ]
    assert signals[0][1].gradient_norm < 0.5 * signals[1][1].gradient_norm


@pytest.mark.parametrize("kind", ["Weak", "WeakInside", "HalfShortcut", "OwnForward"])
def test_a_block_without_its_branch_gives_what_it_makes_of_the_shortcut(
    here: Path, kind: str
) -> None:
    block = nets_of(here, kind)[0].eval().get_submodule("layer1.0")
    x = torch.randn(2, 16, 8, 8)
    before = block(x)
    expected = {"HalfShortcut": F.relu(0.5 * x), "OwnForward": F.relu(x) + 1}.get(kind, F.relu(x))
    with bypass_blocks([block]):  # type: ignore[list-item]
        assert torch.equal(block(x), expected)
    assert torch.equal(block(x), before)


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ("depth=14 residual=false extends=8 block=own_blocks:Weak", "omit extends"),
        ("depth=14 extends=8", "extends is for plain nets"),
        ("depth=8 residual=false extends=14", "extends=14 is not below depth=8"),
        ("depth=50 residual=false extends=34 family=imagenet", "no bottlenecks"),
    ],
)
def test_what_does_not_extend_is_refused(settings: str, says: str) -> None:
    with pytest.raises(ConfigError, match=says):
        compose_config(*settings.split())


@pytest.mark.parametrize(
    ("kind", "says"),
    [
        ("UnusedBranch", "UnusedBranch overrides branch, which its forward never calls"),
        ("UnusedShortcut", "UnusedShortcut overrides shortcut, which its forward never calls"),
        ("BeforeLastNorm", "before_last_norm, which is no longer called: override branch"),
        ("ModuleAsMethod", "the module in self.shortcut is never used"),
    ],
)
def test_an_override_without_effect_is_refused(here: Path, kind: str, says: str) -> None:
    with pytest.raises(ConfigError, match=says) as caught:
        nets_of(here, kind)
    assert "\n" not in str(caught.value)


def test_a_block_that_does_not_say_what_its_branch_is_trains_and_has_no_lesions(
    here: Path, train_run: TrainRun, silent: RunProgress
) -> None:
    (here / "own_blocks.py").write_text(OWN_BLOCKS)
    common = ("depth=8", "data.image_size=8", "recipe.iterations=3", f"output_dir={here}")
    folder = train_run(compose_config(*common, "block=own_blocks:AllInForward"))
    for what in ("residuals", "lesions"):
        asked = InspectionConfig(str(folder), [what], 50)
        with pytest.raises(ConfigError, match=r"computes it inside forward.*\[responses,sig"):
            inspect(asked, silent.console, silent)
    inspect(InspectionConfig(str(folder), ["responses", "signals"], 50), silent.console, silent)


def test_layers_that_are_not_trained_have_no_signal(here: Path) -> None:
    (here / "own_blocks.py").write_text(OWN_BLOCKS)
    net = make_net(
        compose_config("depth=8", "block=own_blocks:HalfTrained", f"output_dir={here}"), 10
    )
    signals = measure_layer_stats(
        net, torch.rand(4, 3, 16, 16), torch.zeros(4, dtype=torch.int64), 0
    )
    layers = [f"layer{stage}.0.conv1" for stage in (1, 2, 3)]
    assert [signal.name for signal in signals] == ["conv1", *layers, "fc"]


def test_a_loader_receives_the_settings_and_a_validation_set_is_split_off(here: Path) -> None:
    config = compose_config(
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
    with pytest.raises(ConfigError, match="or a custom function"):
        composed_study("study.figures=[nothing]", f"output_dir={here}")
