"""Paths on the command line may contain any characters."""

from pathlib import Path

import numpy as np
import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser
from hypothesis import given, settings
from hypothesis import strategies as st
from omegaconf import OmegaConf
from support.commands import BIN, call, forked
from support.studies import untimed_record

from resnet_degradation.config.arguments import quote, quote_paths, to_override
from resnet_degradation.config.schema import Config, InspectionConfig, StudyRunConfig
from resnet_degradation.system.errors import ConfigError

NAMES = [
    "fotos-ü", "cats (1)", "it's", "a#b", "a=b", "a,b", "${x}", "$HOME", "end ", "back\\slash",
    "[brackets]", "{braces}", "\N{SMILING FACE WITH OPEN MOUTH}", "a: b", "100%", 'say "x"', "123",
]  # fmt: skip
TINY = (
    "depth=8", "width=0.25", "data=folder", "data.image_size=8", "recipe.iterations=2",
    "recipe.batch_size=4", "recipe.pad=1", "runtime.num_workers=0", "runtime.num_threads=1",
)  # fmt: skip


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("sweep", [(), ("-m",)])
def test_hydra_reads_an_existing_path_as_typed(
    name: str, sweep: tuple[str, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from hydra.core.override_parser.overrides_parser import OverridesParser
    from omegaconf import OmegaConf

    (tmp_path / name).mkdir()
    monkeypatch.chdir(tmp_path)
    changed = quote_paths([*sweep, f"data.root={name}", f"output_dir={name}"], Config)
    for override in OverridesParser.create().parse_overrides(changed[len(sweep) :]):
        assert not override.is_sweep_override()
        read = OmegaConf.create({"path": override.value()})
        assert str(read.path) == name


def test_paths_that_need_no_quotes_are_left_alone(tmp_path: Path) -> None:
    arguments = ["data.root=/data/imagenet", "output_dir=out/a-b_c.d", "depth=20", "-m"]
    assert quote_paths(arguments, Config) == arguments


def test_a_missing_path_is_quoted_only_where_hydra_could_not_read_it() -> None:
    assert quote_paths(["data.root=cats (1)"], Config) == ['data.root="cats (1)"']
    assert quote_paths(["data.root=a,b"], Config) == ["data.root=a,b"]


def test_a_list_of_runs_may_hold_names_with_commas(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("a,b", "c"):
        (tmp_path / name).mkdir()
    assert quote_paths(["run=[a,b,c]"], InspectionConfig) == [f"run=[{quote('a,b')},c]"]


def test_the_time_in_a_path_is_taken_once() -> None:
    (changed,) = quote_paths(["output_dir=out/${now:%Y}"], StudyRunConfig)
    assert changed.startswith("output_dir=out/2")
    assert "now" not in changed


@pytest.mark.long
def test_a_sweep_over_output_folders_is_not_quoted() -> None:
    assert quote_paths(["-m", "output_dir=range(3)"], Config) == ["-m", "output_dir=range(3)"]
    assert quote_paths(["output_dir=range(3)"], Config) == ['output_dir="range(3)"']


@pytest.mark.long
def test_a_run_is_trained_tested_and_inspected_in_folders_of_any_name(
    tmp_path: Path, digits_folder: "object"
) -> None:
    name = "fotos-ü (1), it's a=b#c ${x}"
    assert callable(digits_folder)
    images = digits_folder(size=8)
    images.rename(tmp_path / name)
    done = forked(tmp_path, "resnet-train", f"data.root={name}", "output_dir=out", *TINY)
    assert (done.returncode, done.stderr) == (0, "")
    (folder,) = (tmp_path / "out").glob(f"{name}/*/metrics.csv")
    assert len(untimed_record(folder.parent)) > 0
    run = f"run={folder.parent.relative_to(tmp_path)}"
    for command in ("resnet-eval", "resnet-inspect"):
        done = forked(tmp_path, command, run, "runtime.num_threads=1")
        assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.long
def test_a_launched_study_resolves_its_paths_once(tmp_path: Path, digits_folder: "object") -> None:
    assert callable(digits_folder)
    digits_folder(size=8)
    done = call(
        tmp_path,
        str(BIN / "resnet-study"),
        "study.nets=[{depth: 8, residual: false}, {depth: 8, residual: true}]",
        "hydra/launcher=joblib",
        "hydra.launcher.n_jobs=1",
        "data.root=images",
        "output_dir=out/${now:%H%M%S}",
        *TINY[1:],
    )
    assert done.returncode == 0, done.stderr + done.stdout
    (outputs,) = (tmp_path / "out").iterdir()
    assert len([*outputs.glob("images/*/summary.json")]) == 2


SETTINGS = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False)
    | st.text(st.characters(codec="utf-8", exclude_characters="\0"))
    | st.sampled_from(
        ["null", "true", "1e3", "5", "a b", "${now:%Y}", "[8", "a,b", "'", '\\"', ""]
    ),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from("abc"), inner),
    max_leaves=5,
)


@settings(max_examples=50)
@given(SETTINGS)
def test_hydra_reads_a_python_value_as_it_is(value: object) -> None:
    override = OverridesParser.create().parse_override(f"key={to_override(value)}")
    read = OmegaConf.create({"key": override.value()})
    assert OmegaConf.to_container(read, resolve=True) == {"key": value}


def test_values_of_other_types_are_written_if_they_have_a_meaning() -> None:
    numbers = np.array([1.5, 2.0])
    assert to_override([np.int64(3), numbers[0], Path("a/b"), (1, "two")]) == "[3,1.5,a/b,[1,two]]"
    assert to_override([numbers[0] > 1, True]) == "[true,true]"
    assert to_override("~/x") == str(Path.home() / "x")
    with pytest.raises(ConfigError, match="cannot be the value of a setting: use a string"):
        to_override(numbers)
