"""Which configurations are valid, how they are completed, and which settings name a run."""

from decimal import Decimal
from pathlib import Path

import pytest
from hypothesis import example, given, reject
from hypothesis import strategies as st
from support.training import Configure

from resnet_degradation.config.durations import (
    MAX_DURATION,
    Duration,
    normalize_duration,
    parse_duration,
    to_iterations,
)
from resnet_degradation.config.identity import digest, identity_settings, net_name, run_folder
from resnet_degradation.system.errors import ConfigError


def test_the_cifar_recipe_is_the_papers(configure: Configure) -> None:
    recipe = configure("data=cifar10", "depth=56").recipe
    assert (recipe.iterations, recipe.batch_size, recipe.lr) == (64_000, 128, 0.1)
    assert (recipe.momentum, recipe.weight_decay, recipe.gamma) == (0.9, 1e-4, 0.1)
    assert (recipe.milestones, recipe.pad, recipe.mirror) == ([0.5, 0.75], 4, True)
    assert recipe.warmup == "never"


@pytest.mark.parametrize(("depth", "warmup"), [(56, "never"), (110, "always"), (1202, "always")])
def test_depth_110_and_beyond_warms_up(configure: Configure, depth: int, warmup: str) -> None:
    recipe = configure("data=cifar10", f"depth={depth}").recipe
    assert (recipe.warmup, recipe.warmup_lr, recipe.warmup_until) == (warmup, 0.01, 80)


def test_the_imagenet_recipe_is_the_papers(configure: Configure) -> None:
    config = configure("data=imagenet", "depth=34")
    recipe = config.recipe
    assert (recipe.iterations, recipe.batch_size, recipe.lr) == (600_000, 256, 0.1)
    assert (recipe.schedule, recipe.gamma, recipe.weight_decay) == ("plateau", 0.1, 1e-4)
    assert (recipe.scale, config.data.image_size) == ([256, 480], 224)
    assert (recipe.mirror, recipe.colour_std, config.data.mean) == (True, 0.1, "pixel")


@pytest.mark.parametrize(
    ("overrides", "family"),
    [
        (["depth=20"], "cifar"),
        (["depth=34"], "imagenet"),
        (["depth=50"], "cifar"),
        (["depth=50", "family=imagenet"], "imagenet"),
        (["depth=50", "data=cifar10"], "cifar"),
        (["depth=50", "data=imagenet"], "imagenet"),
        (["depth=152", "data=folder"], "cifar"),
        (["depth=18", "data=cifar10", "family=imagenet"], "imagenet"),
    ],
)
def test_data_and_depth_decide_the_family(
    configure: Configure, overrides: list[str], family: str
) -> None:
    assert configure(*overrides).family == family


@pytest.mark.parametrize(
    ("overrides", "shortcut"),
    [
        (["depth=20"], "A"),
        (["depth=34"], "A"),
        (["depth=101"], "B"),
        (["depth=34", "shortcut=C"], "C"),
        (["depth=34", "residual=false", "shortcut=C"], None),
    ],
)
def test_the_shortcut_is_the_papers_unless_given(
    configure: Configure, overrides: list[str], shortcut: str | None
) -> None:
    assert configure(*overrides).shortcut == shortcut


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("depth=21", "6n\\+2, such as 20, 32.*18, 34, 50, 101, 152"),
        ("shortcut=D", "shortcut=D is not valid: choose A, B, C"),
        ("recipe.lr=-1", "recipe.lr"),
        ("recipe.lr=nan", "recipe.lr"),
        ("recipe.batch_size=1", "recipe.batch_size"),
        ("recipe.iterations=1.5", r"recipe\.iterations=1\.5 is not a duration"),
        ("recipe.iterations=1e20ep", "is not a duration"),
        ("recipe.iterations=0", "recipe.iterations=0 is not a duration"),
        ("recipe.iterations=90epochen", "recipe.iterations=90epochen is not a duration"),
        ("runtime.log_every=0", "runtime.log_every"),
        ("recipe.milestones=[0.5,-3]", "recipe.milestones"),
        ("data.validation_fraction=1", "data.validation_fraction"),
        ("data.image_size=4", "data.image_size"),
        ("recipe.pad=99", "recipe.pad"),
        ("recipe.scale=[8,10]", "recipe.scale"),
        ("recipe.colour_std=0.1", "recipe.colour_std"),
        ("runtime.devices=0", "runtime.devices"),
        (
            "runtime.precision=fp8",
            "choose fp32, tf32, bf16, fp16",
        ),
        ("seed=-1", "seed"),
    ],
)
def test_an_invalid_setting_is_an_error(configure: Configure, override: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        configure(override)


def test_a_family_that_lacks_the_depth_is_refused_with_its_depths(configure: Configure) -> None:
    with pytest.raises(
        ConfigError, match=r"depth=34: the nearest is 32\. Valid: cifar family: 6n\+2"
    ):
        configure("data=cifar10", "depth=34")


@pytest.mark.parametrize(
    "override",
    [
        "runtime.num_threads=1",
        "runtime.num_workers=0",
        "runtime.log_every=7",
        "runtime.eval_every=2ep",
        "runtime.checkpoint_every=9",
        "runtime.keep_every=1ep",
        "runtime.device=cpu",
        "runtime.compile=net",
        "data.download=false",
        "output_dir=elsewhere",
        "shortcut=A",
        "family=cifar",
        "recipe.warmup=never",
        "recipe.warmup_lr=0.5",
        "recipe.plateau_patience=9",
        "recipe.iterations='300'",
        "recipe.iterations=3e2",
        "bottleneck_stride=3x3",
        "family=",
        "shortcut=",
    ],
)
def test_settings_that_change_no_result_change_no_identity(
    configure: Configure, override: str
) -> None:
    assert digest(configure(override)) == digest(configure())


@pytest.mark.parametrize(
    "override",
    [
        "depth=32",
        "residual=false",
        "shortcut=B",
        "seed=1",
        "width=2",
        "recipe.lr=0.03",
        "recipe.iterations=301",
        "recipe.warmup=always",
        "recipe.mirror=true",
        "data.image_size=20",
        "data.mean=channel",
        "data.validation_fraction=0.1",
        "runtime.precision=bf16",
    ],
)
def test_settings_that_change_results_change_the_identity(
    configure: Configure, override: str
) -> None:
    assert digest(configure(override)) != digest(configure())


def test_checksummed_data_is_identified_without_its_folder(configure: Configure) -> None:
    assert digest(configure("data=cifar10", "data.root=/a")) == digest(configure("data=cifar10"))
    assert digest(configure("data=folder", "data.root=/a")) != digest(
        configure("data=folder", "data.root=/b")
    )


def test_how_images_are_resized_is_part_of_the_identity_only_where_they_are(
    configure: Configure,
) -> None:
    fast = "recipe.resize=fast"
    assert digest(configure(fast)) == digest(configure())
    jitter = ("data=imagenet", "depth=18")
    assert digest(configure(*jitter, "recipe.resize=exact")) == digest(configure(*jitter))
    assert digest(configure(*jitter, fast)) != digest(configure(*jitter))


def test_settings_at_their_default_are_not_part_of_the_identity(configure: Configure) -> None:
    # Thus a later version can add a setting, and runs of earlier versions keep their names.
    assert "momentum" not in identity_settings(configure())["recipe"]


def test_run_folders_have_names_that_people_can_read(configure: Configure) -> None:
    config = configure("depth=34", "residual=false", "seed=2")
    folder = run_folder(config)
    assert folder.parent == Path("outputs/digits")
    assert folder.name == f"plain-34-seed2-{digest(config)}"
    assert net_name(configure("depth=34", "shortcut=B")) == "ResNet-34-B"
    assert net_name(configure("depth=50", "family=imagenet")) == "ResNet-50"


def test_data_is_looked_for_where_the_environment_says(
    configure: Configure, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RESNET_DATA", "/somewhere")
    assert configure("data=folder").data.root == "/somewhere"
    assert configure("data=imagenet", "depth=18").data.root == "/somewhere/imagenet"
    assert configure("data=folder", "data.root=/here").data.root == "/here"
    assert configure("data=folder", "data.root=/a/../here/").data.root == "/here"


def test_runs_are_kept_in_the_output_folder(
    configure: Configure, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    folder = run_folder(configure("data=folder", "data.root=.."))
    assert folder.parent == Path("outputs") / tmp_path.parent.name


@given(epochs=st.integers(1, 500), images=st.integers(100, 2_000_000), batch=st.integers(2, 512))
def test_epochs_are_images_over_batch_size_iterations(epochs: int, images: int, batch: int) -> None:
    iterations = to_iterations(f"{epochs}ep", images, batch, "key")
    assert abs(iterations - epochs * images / batch) <= 0.5 or iterations == 1


epochs = st.floats(0, MAX_DURATION, exclude_min=True)
written_epochs = st.one_of(
    st.builds("{!r}ep".format, epochs),
    st.builds("{:g} epochs".format, epochs.map(lambda number: float(f"{number:g}"))),
    st.builds("{}.{}e{}ep".format, st.integers(0, 99), st.integers(0, 99), st.integers(-9, 6)),
)
iterations = st.integers(1, int(MAX_DURATION))


@given(written_epochs | iterations | iterations.map(float) | iterations.map(str))
@example("123.4567ep")
@example("1000000ep")
@example("1e+06ep")
@example("0.00001ep")
def test_a_duration_written_and_read_again_is_the_same(duration: Duration) -> None:
    try:
        meant = parse_duration(duration, "key")
    except ConfigError:
        reject()  # only valid configurations must give the same
    written = normalize_duration(duration, "key")
    assert parse_duration(written, "key") == meant
    assert normalize_duration(written, "key") == written
    assert "e+" not in str(written)


@given(digits=st.integers(1, 999_999), places=st.integers(0, 4))
def test_durations_of_up_to_six_digits_are_written_as_in_earlier_versions(
    digits: int, places: int
) -> None:
    """Durations are part of the identity of runs."""
    epochs = float(Decimal(digits).scaleb(-places))
    assert normalize_duration(f"{epochs}ep", "key") == f"{epochs:g}ep"


def test_a_length_in_epochs_is_not_rounded(configure: Configure) -> None:
    assert configure("recipe.iterations=123.4567ep").recipe.iterations == "123.4567ep"
    assert configure("recipe.iterations=1000000ep").recipe.iterations == "1000000ep"
    assert digest(configure("recipe.iterations=90 epochs")) == "23729f09"
