"""Entry points. Hydra reads the command line; mistakes end in one line, bugs in a traceback."""

import dataclasses
import difflib
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn, cast

import hydra
from hydra import compose, initialize_config_dir
from hydra.core.config_store import ConfigStore
from hydra.core.hydra_config import HydraConfig
from hydra.errors import HydraException, MissingConfigException
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import ConfigAttributeError, ConfigKeyError, OmegaConfBaseException

from resnet_degradation import __version__
from resnet_degradation.arguments import paths_as_typed
from resnet_degradation.config import (
    Config,
    EvaluationConfig,
    InspectionConfig,
    NetConfig,
    StudyRunConfig,
    check_padding,
    schema_fields,
    settle,
)
from resnet_degradation.encoding import accept_any_locale
from resnet_degradation.errors import (
    READER_LEFT,
    ConfigError,
    Stopped,
    UserError,
    explain,
    one_line_warnings,
)
from resnet_degradation.processes import one_of_several, place, rank, rendezvous_problem
from resnet_degradation.signals import end_on_signals

if TYPE_CHECKING:
    from resnet_degradation.train.progress import RunProgress

# What OmegaConf's messages about types leave unsaid.
EXPECTED = {
    "could not be converted to Integer": ": give a whole number",
    "could not be converted to Float": ": give a number",
    "is not a valid bool": ": give true or false",
    "is not a ListConfig": ": give a list in brackets, as [a] or [a,b]",
}
NETS = "give 'study.nets=[{depth: 20, residual: false}, ...]'"


def config_folder() -> Path:
    """The YAML files: inside an installed package, at the top of a checkout."""
    installed = Path(__file__).parent / "conf"
    return installed if installed.is_dir() else Path(__file__).parents[2] / "conf"


def register_schemas() -> None:
    """Tell Hydra the types that the YAML files are merged into."""
    store = ConfigStore.instance()
    store.store(name="schema", node=Config)
    store.store(name="study_schema", node=StudyRunConfig)
    store.store(name="eval_schema", node=EvaluationConfig)
    store.store(name="inspect_schema", node=InspectionConfig)


def settled(*overrides: str) -> Config:
    """The configuration that `resnet-train` would run with these overrides.

    Raises ConfigError, or one of Hydra's exceptions, for what it would refuse.
    """
    register_schemas()
    with initialize_config_dir(str(config_folder()), version_base="1.3"):
        return _settled(compose("config", overrides=list(overrides)))


def _settled(composed: DictConfig) -> Config:
    config = cast(Config, OmegaConf.to_object(composed))
    if config.weights:
        from resnet_degradation.train.net import with_shortcuts_of_weights

        config = with_shortcuts_of_weights(config)
    settled = settle(config)
    check_padding(config, settled)
    return settled


def train() -> NoReturn:
    """`resnet-train`: one run, or with -m one for every combination."""

    def run(composed: DictConfig) -> None:
        config = _settled(composed)
        from resnet_degradation.train.launch import train_on_devices
        from resnet_degradation.train.progress import RunProgress, Terminal

        progress = RunProgress(Terminal())
        folder = train_on_devices(config, progress)
        if rank() > 0:
            return
        progress.say(f"record: {folder}/metrics.csv")
        progress.say(f"curves: tensorboard --logdir {config.output_dir}")

    _main(run, "config", Config)


def study() -> NoReturn:
    """`resnet-study`: every run of a figure, then the figure, the report and the verdict."""

    def run(composed: DictConfig) -> None:
        from resnet_degradation.study.define import resolve_study

        hydra_config = HydraConfig.get()
        if composed.part is None or not _is_sweeping():
            chosen = hydra_config.runtime.choices["study"]
            study = resolve_study(composed, compose("study_config", [f"study={chosen}"]))
        else:
            study = resolve_study(composed)
        from resnet_degradation.train.progress import Terminal

        if composed.part is None and place() is not None:
            raise ConfigError(
                "resnet-study starts the processes of its runs itself: give runtime.devices "
                f"instead of torchrun or srun, or unset what they set ({one_of_several()})"
            )
        console = Terminal()
        if composed.plan:
            from resnet_degradation.study.estimate import print_plan

            print_plan(study, console, composed.jobs)
        elif composed.part is not None:
            from resnet_degradation.train.launch import train_on_devices
            from resnet_degradation.train.progress import RunProgress

            train_on_devices(study.runs[composed.part - 1], RunProgress(console))
        else:
            from resnet_degradation.study.run import run_study

            arguments = list(sys.argv[1:])
            launched = not _is_basic(hydra_config.launcher) and not _is_sweeping()
            run_study(study, console, composed.jobs, arguments, launched)

    _main(run, "study_config", StudyRunConfig)


def evaluate() -> NoReturn:
    """`resnet-eval`: the error of a trained net by a testing protocol of the paper."""

    def run(composed: DictConfig) -> None:
        from resnet_degradation.evaluation.define import resolve_evaluation

        evaluation = resolve_evaluation(composed, _overrides())
        from resnet_degradation.evaluation.run import evaluate as carry_out

        with _progress() as progress:
            carry_out(evaluation, progress.console, progress)

    _main(run, "eval_config", EvaluationConfig)


def inspect() -> NoReturn:
    """`resnet-inspect`: what lies behind the errors of trained nets."""

    def run(composed: DictConfig) -> None:
        asked = cast(InspectionConfig, OmegaConf.to_object(composed))
        from resnet_degradation.inspect.run import inspect as carry_out

        with _progress() as progress:
            carry_out(asked, progress.console, progress)

    _main(run, "inspect_config", InspectionConfig)


@contextmanager
def _progress() -> Iterator["RunProgress"]:
    """A view on standard output, whose bars are taken away at the end."""
    from resnet_degradation.train.progress import RunProgress, Terminal

    progress = RunProgress(Terminal())
    try:
        yield progress
    finally:
        progress.end()


def _is_basic(launcher: Any) -> bool:
    """Whether it is Hydra's own launcher, which runs jobs one after another in this process."""
    return str(launcher._target_).endswith("BasicLauncher")


def _is_sweeping() -> bool:
    return bool(HydraConfig.get().mode == RunMode.MULTIRUN)


def _overrides() -> list[str]:
    """What this job was given on the command line."""
    given = OmegaConf.to_container(HydraConfig.get().overrides.task, resolve=False)
    return cast(list[str], given)


def _return_to_folder_of_call() -> None:
    """Let relative paths mean in a job of a launcher what they mean where it was started."""
    runtime: Any = OmegaConf.to_container(HydraConfig.get().runtime, resolve=False)
    with suppress(OSError):  # there may be no such folder on the machine of the job
        os.chdir(runtime["cwd"])


def _main(run: Callable[[DictConfig], None], config_name: str, schema: type[Any]) -> NoReturn:
    """Compose the configuration from the command line, run it, and exit.

    Exits with 0, or with the code of the error, after saying it in one line on standard error.
    In a sweep, a failed job does not keep the others from running.
    """
    accept_any_locale()
    one_line_warnings()
    # Hydra would print part of a traceback and exit; this makes it raise instead.
    os.environ["HYDRA_FULL_ERROR"] = "1"
    end_on_signals()
    register_schemas()
    _read_arguments(schema)
    failures: list[tuple[str, int]] = []  # the job's overrides and its exit code
    began = False

    def task(composed: DictConfig) -> None:
        nonlocal began
        began = True
        _return_to_folder_of_call()
        try:
            _refuse_unknown(composed, schema)
            run(composed)
        except Exception as error:
            message = _explain(error, schema)
            if message is None:
                raise  # a bug: it keeps its traceback
            sweeping = _is_sweeping()
            if sweeping and not _is_basic(HydraConfig.get().launcher):
                raise  # the job runs in another process: its launcher has to see the failure
            job = " ".join(_overrides())
            if _speaks(error):
                _complain(f"{job}: {message}" if sweeping else message)
            failures.append((job, error.exit_code if isinstance(error, UserError) else 2))

    entry_point = hydra.main(
        version_base="1.3", config_path=str(config_folder()), config_name=config_name
    )(task)
    try:
        entry_point()
    except BrokenPipeError:
        _leave(128 + READER_LEFT)  # as `resnet-train --help | head -1`
    except Stopped as stop:
        with suppress(OSError):  # the terminal may be gone, or whoever read our output
            if rank() == 0:
                print(stop, file=sys.stderr, flush=True)
        _leave(stop.exit_code)
    except Exception as error:
        message = _explain(error, schema)
        if message is None and not began:
            message = _explain_unread(error)
        if message is None:
            raise
        if _speaks(error):
            _complain(message)
        sys.exit(ConfigError.exit_code)
    if len(failures) > 1 and rank() == 0:
        _complain(f"{len(failures)} jobs failed: {'; '.join(job for job, _ in failures)}")
    sys.exit(failures[0][1] if failures else 0)


def _read_arguments(schema: type[Any]) -> None:
    """What Hydra does not know: --version, and paths of any characters."""
    if "--version" in sys.argv[1:]:
        print(f"resnet-degradation {__version__}")
        sys.exit(0)
    try:
        sys.argv[1:] = paths_as_typed(sys.argv[1:], schema)
    except ConfigError as error:
        if _speaks(error):
            _complain(str(error))
        sys.exit(error.exit_code)


def _leave(code: int) -> NoReturn:
    """Exit with this code, also if nobody is left to read what was printed."""
    try:
        sys.stdout.flush()
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    sys.exit(code)


def _speaks(error: Exception) -> bool:
    """Whether it is for this process to say what failed, where a run has several."""
    return getattr(error, "rank", 0) == rank() or bool(rendezvous_problem())


def _complain(message: str) -> None:
    prefix = f"error: rank {rank()}: " if rank() > 0 else "error: "
    with suppress(OSError):  # the terminal may be gone
        print(prefix + " ".join(message.split()), file=sys.stderr)


def _refuse_unknown(composed: DictConfig, schema: type[Any]) -> None:
    """Raise ConfigError for a key that was forced in with +key=value, or out with ~key."""
    known, composed_keys = valid_keys(schema), list(_composed_keys(composed))
    for key in composed_keys:
        if key not in known:
            raise ConfigError(_unknown_key(key, schema))
    for key in known:
        if key not in composed_keys:
            raise ConfigError(f"{key} cannot be taken out with ~: omit ~{key} for its default")


def _composed_keys(node: DictConfig, prefix: str = "") -> Iterator[str]:
    for name in map(str, node):
        key = f"{prefix}{name}"
        yield key
        if not OmegaConf.is_missing(node, name) and isinstance(node[name], DictConfig):
            yield from _composed_keys(node[name], f"{key}.")


def valid_keys(schema: type[Any]) -> list[str]:
    """Every key of a schema, with dots."""
    return [key for key, _ in schema_fields(schema)]


def _unknown_key(key: str, schema: type[Any]) -> str:
    keys = valid_keys(schema)
    of_nets = [field.name for field in dataclasses.fields(NetConfig)]
    if schema is StudyRunConfig and key in of_nets:
        return f"there is no key {key}: {NETS}"
    # "lr" is nearer to "recipe.lr" than its letters tell.
    by_last_part = {known.rpartition(".")[2]: known for known in reversed(keys)}
    nearest = difflib.get_close_matches(key, keys, 1, 0.7) or [
        by_last_part[match]
        for match in difflib.get_close_matches(key.rpartition(".")[2], by_last_part, 1, 0.7)
    ]
    if not nearest and schema is StudyRunConfig:
        nearest = difflib.get_close_matches(key, of_nets, 1, 0.7)
    hint = f"the nearest is {nearest[0]}" if nearest else "see --help for the valid keys"
    return f"there is no key {key}: {hint}"


def _explain(error: Exception, schema: type[Any]) -> str | None:
    """What is wrong, in one line, if the user can fix it; None if it is a bug."""
    if isinstance(error, HydraException | OmegaConfBaseException):
        return _explain_configuration(error, schema)
    if isinstance(error, ValueError) and str(error).startswith("Config group override"):
        return f"data, recipe, runtime and study cannot be null: choose an option ({error})"
    return explain(error)


def _explain_unread(error: Exception) -> str | None:
    """Why Hydra could not read the settings, in one line; None if it is a bug."""
    if not __debug__:  # its parser counts on assertions
        return "these settings cannot be read under python -O: unset PYTHONOPTIMIZE"
    return f"these settings cannot be read: {error}" if isinstance(error, ValueError) else None


def _explain_configuration(error: Exception, schema: type[Any]) -> str:
    """What Hydra or OmegaConf object to, in one line."""
    cause = error.__cause__ or error
    if isinstance(error, MissingConfigException) and error.options is not None:
        group, _, option = str(error.missing_cfg_file).rpartition("/")
        nearest = difflib.get_close_matches(option, error.options, 1)
        hint = f", the nearest is {group}={nearest[0]}" if nearest else ""
        if group == "hydra/launcher":
            hint += " (launchers are installed with pip install -e '.[joblib,slurm,ray]')"
        own = "; your own: --config-dir FOLDER" if group in ("data", "recipe", "study") else ""
        return f"there is no {group}={option}{hint}; valid: {', '.join(error.options)}{own}"
    if isinstance(cause, OmegaConfBaseException):
        return _explain_value(cause, schema)
    return _explain_override(str(error))


def _explain_value(cause: OmegaConfBaseException, schema: type[Any]) -> str:
    """What OmegaConf objects to: a key that is not there, or what it is set to."""
    if isinstance(cause, ConfigAttributeError | ConfigKeyError) and cause.full_key:
        return _unknown_key(str(cause.full_key), schema)
    key = f"{cause.full_key}: " if cause.full_key else ""
    message = str(cause).splitlines()[0]
    if "missing mandatory value" in message:
        return f"a net of study.nets lacks {message.rpartition(' ')[2]}: {NETS}"
    if "NetConfig" in message:
        return f"study.nets has something else than nets: {NETS}"
    expected = next((e for kind, e in EXPECTED.items() if kind in message), "")
    return f"{key}{message}{expected}"


def _explain_override(message: str) -> str:
    """What Hydra objects to in how a setting is written."""
    first = message.splitlines()[0]
    if "Ambiguous value" in first:
        given = first.partition(" for argument ")[2]
        lists = {"seeds": "[0,1]", "what": "[signals,lesions]"}
        named = next((name for name in lists if f"'{name}=" in given), None)
        advice = f"give a list, as {named}={lists[named]}" if named else "add -m to run each"
        return f"{given} names several values: {advice}"
    if "Error parsing override" in first and "missing EQUAL" in message:
        return f"{first.partition('override ')[2]} lacks a value: settings are given as key=VALUE"
    if "no viable alternative" in first:
        return f"{first}: put a setting with blanks in it in quotes, as 'key=[a, b]'"
    return message.replace("\nSee https://", " See https://").split("\nTo append")[0]
