"""`import resnet_degradation as rd`: the commands as functions that do not change the process."""

import ast
import shutil
import signal
import subprocess
import sys
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hydra import compose, initialize_config_dir
from hydra.core.config_store import ConfigStore
from omegaconf import DictConfig
from support.commands import TINY
from support.studies import untimed_record
from torch.nn import functional as F

import resnet_degradation as rd
from resnet_degradation.cli import commands
from resnet_degradation.cli.compose import compose_config
from resnet_degradation.config.identity import run_folder
from resnet_degradation.console.progress import RunProgress
from resnet_degradation.records.summary import is_finished
from resnet_degradation.system.os_signals import STOP_SIGNALS, handle_signals
from resnet_degradation.training import session
from resnet_degradation.training.torch_settings import restore_settings

# The settings of TINY (which are the command's arguments), with more rows.
SETTINGS: dict[str, Any] = {
    "depth": 8,
    "width": 0.5,
    "data": {"image_size": 8},
    "recipe": {"iterations": 4, "batch_size": 16, "pad": 1},
    "runtime": {"num_threads": 1, "log_every": 2},
}


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> rd.Run:
    """A tiny run that is finished."""
    where = tmp_path_factory.mktemp("api") / "outputs"
    return rd.train(**SETTINGS, output_dir=where, quiet=True)


def process_state() -> tuple[Any, ...]:
    """The state of the process that a call must not change."""
    cudnn, matmul = torch.backends.cudnn, torch.backends.cuda.matmul
    arithmetic = cudnn.deterministic, cudnn.allow_tf32, matmul.allow_tf32
    handlers = [signal.getsignal(number) for number in (*STOP_SIGNALS, signal.SIGUSR1)]
    random = torch.random.get_rng_state().tolist()
    return arithmetic, handlers, random, torch.get_num_threads(), warnings.formatwarning


def test_the_import_loads_nothing_and_lists_the_names() -> None:
    code = (
        "import sys, time; start = time.process_time(); import resnet_degradation as rd; "
        "print(time.process_time() - start); "
        "assert not {'torch', 'numpy', 'hydra', 'omegaconf', 'rich'} & set(sys.modules); "
        "assert set(rd.__all__) <= set(dir(rd)); rd.UserError; assert 'torch' not in sys.modules"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert float(done.stdout) < 0.1
    with pytest.raises(AttributeError, match="no attribute 'trian'"):
        _ = rd.trian


def test_the_modules_for_launchers_do_not_replace_the_functions() -> None:
    code = (
        "import pickle, sys, resnet_degradation.train, resnet_degradation.study as module; "
        "import resnet_degradation as rd; from resnet_degradation import train, study; "
        "assert rd.train is train is pickle.loads(pickle.dumps(train)); "
        "assert {'resnet_degradation.train', 'resnet_degradation.study'} < set(sys.modules); "
        "print(train.__module__, study.__module__)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["resnet_degradation.api.run", "resnet_degradation.api.study"]


def test_type_checkers_see_what_is_loaded_later() -> None:
    module = ast.parse(Path(rd.__file__).read_text("utf-8"))
    checked = next(node for node in module.body if isinstance(node, ast.If))
    imported = [each for each in checked.body if isinstance(each, ast.ImportFrom)]
    names = {name.name for each in imported for name in each.names}
    assert names == set(rd.__all__) == {name for names in rd._MODULES.values() for name in names}
    for each in imported:
        for name in each.names:
            assert getattr(rd, name.name).__module__ == each.module
    assert (Path(rd.__file__).parent / "py.typed").exists()


def test_a_call_trains_what_the_command_trains(
    tmp_path: Path, run: rd.Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HYDRA_FULL_ERROR", "1")
    monkeypatch.setattr(warnings, "formatwarning", warnings.formatwarning)
    monkeypatch.setattr(sys, "argv", ["resnet-train", *TINY, "runtime.log_every=2"])
    handlers = {number: signal.getsignal(number) for number in (*STOP_SIGNALS, signal.SIGUSR1)}
    with handle_signals(handlers), pytest.raises(SystemExit, match="0"):
        commands.train()
    folder = tmp_path / "outputs/digits" / run.folder.name
    assert is_finished(folder)
    assert untimed_record(folder) == untimed_record(run.folder)
    assert (folder / "responses.csv").read_bytes() == (run.folder / "responses.csv").read_bytes()


def test_a_finished_run_is_only_read_and_the_process_stays_as_it_was(
    run: rd.Run, capsys: pytest.CaptureFixture[str]
) -> None:
    torch.set_num_threads(2)
    before, record = process_state(), (run.folder / "metrics.csv").stat()
    try:
        overrides = ["runtime.num_threads=1", f"output_dir={run.folder.parents[1]}"]
        assert rd.train(overrides, **SETTINGS | {"runtime": {}}) == run
        assert process_state() == before
        with pytest.raises(rd.UserError, match="diverged"):
            rd.train([*overrides, "recipe.lr=1e30"], **SETTINGS, quiet=True)
        assert process_state() == before
    finally:
        torch.set_num_threads(1)
    assert (run.folder / "metrics.csv").stat() == record
    assert (
        capsys.readouterr().out
        == f"ResNet-8-width0.5 seed 0 is already finished: {run.errors}\n{run.folder}\n"
    )


def test_what_a_program_has_set_in_torch_does_not_change_a_run(run: rd.Run, tmp_path: Path) -> None:
    torch.set_default_dtype(torch.float64)
    torch.set_default_device("meta")
    try:
        with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16):
            other = rd.train(**SETTINGS, output_dir=tmp_path, quiet=True)
            tested = rd.evaluate(other, quiet=True)["val"][1]
            assert torch.is_autocast_enabled("cpu")
        assert torch.get_default_dtype() is torch.float64
        assert torch.get_default_device().type == "meta"
    finally:
        torch.set_default_dtype(torch.float32)
        torch.set_default_device(None)
    assert untimed_record(other.folder) == untimed_record(run.folder)
    assert (other.folder / "responses.csv").read_bytes() == (
        run.folder / "responses.csv"
    ).read_bytes()
    assert tested == pytest.approx(run.errors.val_error)
    shutil.rmtree(other.folder)
    assert "is not a run folder" in repr(other)


def test_a_program_s_autocast_keeps_no_casts_of_old_weights() -> None:
    layer, images = torch.nn.Linear(1, 1, bias=False), torch.ones(1, 1)
    with torch.autocast("cpu", torch.bfloat16):
        with restore_settings():
            for value in (1.0, 2.0):
                torch.nn.init.constant_(layer.weight, value)
                with torch.autocast("cpu", torch.bfloat16):
                    assert layer(images).item() == value
        assert layer(images).dtype is torch.bfloat16
        assert torch.autocast_increment_nesting() == 2
        assert torch.autocast_decrement_nesting() == 1


def test_what_a_run_holds(run: rd.Run, monkeypatch: pytest.MonkeyPatch) -> None:
    assert rd.load(str(run.folder)) == run
    assert run.config == compose_config(
        *TINY, "runtime.log_every=2", f"output_dir={run.folder.parents[1]}"
    )
    assert list(run.metrics)[:2] == ["iteration", "epoch"]
    assert run.metrics["iteration"].tolist() == [2, 4]
    assert run.metrics["val_error"][-1] == pytest.approx(run.errors.val_error)
    assert np.isnan(run.metrics["test_error"]).all()
    assert f"{run.errors.train_error:.2f} %" in repr(run)
    assert run.summary["num_parameters"] == sum(p.numel() for p in run.net().parameters())
    figure = run.plot(title="One run")
    assert figure._repr_png_().startswith(b"\x89PNG")  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "pandas", None)
    with pytest.raises(ImportError, match="pip install pandas"):
        run.metrics.to_pandas()


def test_the_net_of_a_run_makes_the_errors_of_its_record(run: rd.Run) -> None:
    from resnet_degradation.data.sources.digits import load_digits

    net = run.net()
    assert not net.training
    assert rd.evaluate(run, quiet=True)["val"][1] == pytest.approx(run.errors.val_error)
    source: Any = load_digits(8)
    mean = source.train.images.float().mean(dim=0)
    images = (source.held_out["val"].images.float() - mean) / 255
    with torch.no_grad():
        wrong = net(images).argmax(dim=1) != source.held_out["val"].labels
    assert 100 * float(wrong.float().mean()) == pytest.approx(run.errors.val_error, abs=0.6)


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"dept": 20}, "there is no key dept: the nearest is depth"),
        ({"recipe": {"iteration": 3}}, "there is no key recipe.iteration: the nearest is recipe.i"),
        ({"epochs": 3}, "there is no key epochs: type recipe.iterations=3ep"),
        ({"depth": "deep"}, "depth: Value 'deep' of type 'str' could not be converted to Integer:"),
        ({"data": "CIFAR10"}, "there is no data=CIFAR10, the nearest is data=cifar10; valid:"),
        ({"depth": 21}, "there is no net with depth=21"),
        ({"seed": b"1"}, "b'1' cannot be the value of a setting: use a string"),
        ({"recipe": {"lr": print}}, "<built-in function print> cannot be the value of a setting"),
        (
            {"data": {"name": "folder", "root": "/no where"}},
            "looked for the folder /no where/train",
        ),
        ({"overrides": ["depth"]}, "'depth' is not a setting: type depth=VALUE"),
        ({"overrides": "depth=20,56"}, "'depth=20,56' names several values"),
        ({"output_dir": "/dev/null"}, "output_dir=/dev/null cannot be used as a folder"),
    ],
)
def test_a_mistake_raises_the_line_that_the_command_prints(
    settings: dict[str, Any], said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(rd.UserError) as caught:
        rd.train(**settings)
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)
    assert not list(tmp_path.rglob("metrics.csv"))


def test_other_mistakes(run: rd.Run, tmp_path: Path) -> None:
    with pytest.raises(rd.UserError, match="is not a run folder"):
        rd.load(tmp_path)
    with pytest.raises(rd.UserError, match="x=epochs is not valid: choose iteration"):
        run.plot(x="epochs")
    with pytest.raises(rd.UserError, match="what=colour is not valid"):
        rd.inspect(run, "colour")
    with pytest.raises(rd.UserError, match="plan and part are settings of the command"):
        rd.study(plan=True)
    with pytest.raises(rd.UserError, match="there is no study=quik, the nearest is study=quick"):
        rd.study("quik")
    with pytest.raises(rd.UserError, match="there is no net with depth=21"):
        rd.resnet(21)
    with pytest.raises(rd.UserError, match="protocol=none tests nothing"):
        rd.evaluate(run, protocol="none")
    with pytest.raises(rd.UserError, match="14 is not a setting: write key=value"):
        rd.train(14)  # type: ignore[arg-type]
    with pytest.raises(rd.UserError, match="recipe=60 is not a setting: write recipe='quick' or"):
        rd.train(recipe=60)
    with pytest.raises(rd.UserError, match="study=3 is not a setting: write the name of a study"):
        rd.study(3)  # type: ignore[arg-type]
    with pytest.raises(rd.UserError, match="3 is not a run: use folders"):
        rd.plot(3)  # type: ignore[arg-type]
    with pytest.raises(rd.UserError, match=r"depth: Value 'resnet50' .* must be a whole number"):
        rd.resnet("resnet50")  # type: ignore[arg-type]
    with pytest.raises(KeyError, match="there is no column 'error'; valid: iteration, "):
        run.metrics["error"]


def test_a_bug_keeps_its_traceback(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: Any) -> None:
        raise ZeroDivisionError("a bug")

    monkeypatch.setattr(session, "prepare", fail)
    with pytest.raises(ZeroDivisionError, match="a bug"):
        rd.train(**SETTINGS, output_dir=tmp_path, quiet=True)


@pytest.fixture
def signals_at(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[int, int], None]]:
    """Send a signal to this process in an iteration of the next run."""
    advance = RunProgress.advance

    def send(number: int, iteration: int) -> None:
        def interrupted(progress: RunProgress, done: int) -> None:
            advance(progress, done)
            if done == iteration:
                signal.raise_signal(number)

        monkeypatch.setattr(RunProgress, "advance", interrupted)

    yield send
    monkeypatch.setattr(RunProgress, "advance", advance)


def test_ctrl_c_saves_the_run_and_the_same_call_resumes_it(
    run: rd.Run, tmp_path: Path, signals_at: Callable[[int, int], None]
) -> None:
    before = process_state()
    signals_at(signal.SIGINT, 2)
    said = "stopped after 2 of 4 iterations, all saved: the same call resumes it"
    with pytest.raises(KeyboardInterrupt, match=said) as interrupted:
        rd.train(**SETTINGS, output_dir=tmp_path)
    assert interrupted.type is KeyboardInterrupt  # with which a script ends like on Ctrl-C
    assert process_state() == before
    (folder,) = (file.parent for file in tmp_path.rglob("metrics.csv"))
    unfinished = rd.load(folder)
    assert "not finished" in repr(unfinished)
    with pytest.raises(rd.UserError, match="is not a finished run"):
        _ = unfinished.errors
    assert unfinished.net().training is False
    signals_at(signal.SIGINT, 0)
    resumed = rd.train(**SETTINGS, output_dir=tmp_path, quiet=True)
    assert untimed_record(resumed.folder) == untimed_record(run.folder)


def test_only_calls_that_save_runs_say_that_they_resume(
    run: rd.Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(*_arguments: Any, **_more: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("resnet_degradation.training.launch.train_on_devices", interrupted)
    monkeypatch.setattr("resnet_degradation.nets.build.make_net", interrupted)
    monkeypatch.setattr("resnet_degradation.evaluation.command.evaluate", interrupted)
    with pytest.raises(KeyboardInterrupt, match=r"^stopped: the same call resumes what is saved$"):
        rd.train(**SETTINGS)
    for call in (rd.resnet, lambda: rd.evaluate(run, quiet=True)):
        with pytest.raises(KeyboardInterrupt, match=r"^stopped$"):
            call()


def test_every_call_gives_its_advice(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(session, "describe_cpu_contention", lambda _threads: "the cores are busy")
    for seed, quiet in ((0, True), (1, False)):
        rd.train(**SETTINGS, seed=seed, output_dir=tmp_path, quiet=quiet)
    assert capsys.readouterr().out.count("the cores are busy") == 1


def test_other_signals_reach_the_program_once_the_run_is_saved(
    tmp_path: Path, signals_at: Callable[[int, int], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    received = []
    before = signal.signal(signal.SIGTERM, lambda number, _frame: received.append(number))
    signals_at(signal.SIGTERM, 3)
    try:
        with pytest.raises(KeyboardInterrupt, match="the same call resumes it"):
            rd.train(**SETTINGS, output_dir=tmp_path)
    finally:
        signal.signal(signal.SIGTERM, before)
    assert received == [signal.SIGTERM]


def test_it_works_inside_a_program_that_uses_hydra_itself(tmp_path: Path, run: rd.Run) -> None:
    conf = tmp_path / "conf"
    conf.mkdir()
    (conf / "config.yaml").write_text("defaults: [schema, _self_]\ndepth: theirs\n")
    store = ConfigStore.instance()
    store.store(name="schema", node={"colour": "red"})
    with initialize_config_dir(str(conf), version_base="1.2"):
        assert compose("config") == {"colour": "red", "depth": "theirs"}
        assert rd.train(**SETTINGS, output_dir=run.folder.parents[1], quiet=True) == run
        assert compose("config") == DictConfig({"colour": "red", "depth": "theirs"})
        with pytest.raises(rd.UserError):
            rd.train(dept=8)
        assert compose("config", ["depth=ours"]).depth == "ours"
    assert run_folder(run.config) == run.folder


def test_a_study_and_an_inspection_of_it(tmp_path: Path, run: rd.Run) -> None:
    nets = [{"depth": 8, "residual": residual} for residual in (False, True)]
    settings = {key: value for key, value in SETTINGS.items() if key != "depth"}
    found = rd.study(
        "depths", study={"nets": nets}, seeds=[0], output_dir=tmp_path, quiet=True, **settings
    )
    assert found.folder.parent == tmp_path / "studies"
    plain, residual = found.runs
    assert untimed_record(residual.folder) == untimed_record(run.folder)
    assert found.verdicts[0].startswith("ResNet-8-width0.5 minus plain-8-width0.5: ")
    assert found.figures["depths"].read_bytes().startswith(b"\x89PNG")
    assert found.results["residual"].tolist() == [False, True]
    assert found.results["train_error"] == pytest.approx([r.errors.train_error for r in found.runs])
    command = (found.folder / "report.md").read_text("utf-8")
    assert "resnet-study study=depths 'study.nets=[{depth:8,residual:false}," in command
    with pytest.raises(rd.UserError, match="is a study of 2 runs: load one"):
        rd.load(found.folder)

    inspected = rd.inspect(found.folder, ["residuals"], images=20, output_dir=tmp_path, quiet=True)
    assert inspected.folder.parent == tmp_path / "inspections"
    assert "ResNet-8-width0.5" in inspected.findings["residuals"].sentence
    assert inspected.plot().get_axes()
    with pytest.raises(rd.UserError, match="lesions was not measured: choose from residuals"):
        inspected.plot("lesions")
    nothing = rd.inspect(plain, "residuals", quiet=True)
    with pytest.raises(rd.UserError, match="nothing was measured: plain nets have no shortcuts"):
        nothing.plot()
    assert rd.plot([plain, residual.folder], together=True, errors="training").get_axes()
    same = rd.inspect(residual, "residuals", ["images=20"], quiet=True)
    assert same.folder == residual.folder.resolve() / "inspection"
    assert same.findings["residuals"].rows == inspected.findings["residuals"].rows


def test_a_net_alone() -> None:
    before = torch.random.get_rng_state()
    plain, residual = rd.resnet(8, residual=False), rd.resnet(8)
    for name, value in plain.state_dict().items():
        assert torch.equal(value, residual.state_dict()[name])
    images = torch.zeros(2, 3, 32, 32)
    images[1] = 1.0
    assert F.cross_entropy(residual(images), torch.tensor([0, 1])).isfinite()
    assert torch.equal(before, torch.random.get_rng_state())
    names = rd.resnet(18, num_classes=1000, shortcut="B").state_dict().keys()
    assert {"conv1.weight", "layer2.0.downsample.0.weight", "layer4.1.bn2.bias", "fc.bias"} < names
    assert rd.resnet(50).arch.family == "cifar"
    assert rd.resnet(50, family="imagenet").arch.block == "bottleneck"
