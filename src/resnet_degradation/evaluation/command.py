"""`resnet-eval`: tests a net, prints a table, writes a JSON file and exports weights."""

import json
import time
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from rich.console import Console
from rich.table import Column, Table

from resnet_degradation.config.identity import data_name, net_name
from resnet_degradation.config.schema import Config
from resnet_degradation.console.lines import print_table
from resnet_degradation.console.progress import Progress
from resnet_degradation.data.batches import Batches
from resnet_degradation.data.build import find_images
from resnet_degradation.data.dataset import Source
from resnet_degradation.data.views import EvalProtocol, ProtocolName
from resnet_degradation.evaluation.options import Evaluation
from resnet_degradation.nets.build import make_net, move_to_device
from resnet_degradation.nets.resnet import ResNet
from resnet_degradation.nets.weights import (
    assign_weights,
    check_weights_suffix,
    load_weights,
    num_classes,
    write_weights,
)
from resnet_degradation.probes.errors import errors_over_views
from resnet_degradation.records.checkpoint import Checkpoint, first_difference
from resnet_degradation.records.run_folder import num_skipped_images, read_classes
from resnet_degradation.records.summary import is_finished
from resnet_degradation.reference import paper
from resnet_degradation.system.atomic_files import check_writable, write_json
from resnet_degradation.system.errors import ConfigError, DataError
from resnet_degradation.training.build import choose_device
from resnet_degradation.training.describe import describe_environment
from resnet_degradation.training.load_run import make_inspection_batches, require_checkpoint
from resnet_degradation.training.torch_settings import restore_settings, set_arithmetic

# Weights from a file count as near chance if their error exceeds (1 - this) times the error of
# guessing.
SHARE_BELOW_CHANCE = 0.25


@dataclass(frozen=True)
class SplitErrors:
    """The errors of one held-out split."""

    split: str
    num_images: int
    views_per_image: int
    errors: dict[int, float]  # top-k, in percent, by k


@restore_settings()
def evaluate(evaluation: Evaluation, console: Console, progress: Progress) -> list[SplitErrors]:
    """Test a net, print a table, write the JSON file and the exported weights.

    Raises UserError for whatever the user can fix.
    """
    config, run = evaluation.config, evaluation.run
    if evaluation.export is not None:
        check_weights_suffix(evaluation.export)
    checkpoint = None if run is None else require_checkpoint(run)
    tested: list[SplitErrors] = []
    if evaluation.protocol == "none":
        classes = [] if run is None else read_classes(run) or []
        net = _load_net(evaluation, checkpoint, None, progress)
    else:
        set_arithmetic("fp32")
        start = time.monotonic()
        device = choose_device(config)
        source = find_images(config, progress.show_preparation)
        _check_images(evaluation, source, checkpoint)
        classes = source.classes
        net = move_to_device(_load_net(evaluation, checkpoint, len(classes), progress), device)
        batches = make_inspection_batches(config, source, device, progress.show_preparation)
        file = evaluation.record()
        # Now, because the result of the test would be lost later.
        problem = f"the record of this evaluation cannot be written to {file.parent}"
        check_writable(file.parent, problem, "name another folder with output_dir=FOLDER")
        tested = _test(net, batches, evaluation, progress)
        iteration = None if checkpoint is None else checkpoint.iteration
        record = _to_dict(evaluation, tested, iteration)
        record |= {"seconds": time.monotonic() - start} | describe_environment(device)
        _show(evaluation, tested, iteration, console)
        if run is None and (note := near_chance(config, tested, len(classes))):
            console.print(note, highlight=False, markup=False)
        write_json(file, record)
        progress.say(f"record: {file}")
    if evaluation.export is not None:
        about = {"net": net_name(config), "data": data_name(config), "classes": json.dumps(classes)}
        write_weights(net, evaluation.export, about)
        progress.say(f"weights: {evaluation.export}")
    return tested


def near_chance(config: Config, tested: list[SplitErrors], num_classes: int) -> str | None:
    """The usual causes, if weights from a file are barely better than guessing; else None."""
    guessing = 100 * (1 - 1 / num_classes)
    worst = max(result.errors[1] for result in tested)
    if worst <= (1 - SHARE_BELOW_CHANCE) * guessing:
        return None
    causes = [
        f"another mean or std (here data.mean={config.data.mean}, "
        f"data.std={config.data.std or 'null'})",
        "another order of the classes",
    ]
    if config.residual and config.shortcut == "A":
        causes.append(f"other zero padding (here shortcut_padding={config.shortcut_padding})")
    return (
        f"An error of {worst:.2f} % is high: guessing gives {guessing:.2f} %. If these weights do "
        f"better elsewhere, the usual causes are: {'; '.join(causes)}."
    )


def _load_net(
    evaluation: Evaluation, checkpoint: Checkpoint | None, classes: int | None, progress: Progress
) -> ResNet:
    """The net of the checkpoint, or of the weights file.

    classes: the number of classes; None: as many as the weights have.
    """
    config = evaluation.config
    if checkpoint is not None:
        weights = checkpoint.parts["net"]
        net = make_net(config, classes or len(weights["fc.bias"]), initialized=False)
        assign_weights(net, weights, f"the checkpoint of {evaluation.run}")
    else:
        file = Path(str(config.weights))
        net = make_net(config, classes or num_classes(file), initialized=False)
        progress.say(load_weights(net, file))
    return net


def _check_images(evaluation: Evaluation, source: Source, checkpoint: Checkpoint | None) -> None:
    """Raise DataError if the classes are not the net's; warn if the images are not the run's."""
    split = evaluation.split
    if split is not None and split not in source.held_out:
        raise ConfigError(f"there is no split={split}: choose {', '.join(source.held_out)}")
    if evaluation.run is None or checkpoint is None:
        return
    trained_on = read_classes(evaluation.run)
    if trained_on is not None and trained_on != source.classes:
        pairs = zip([*trained_on, "nothing"], [*source.classes, "nothing"], strict=False)
        number, (expected, found) = next((i, p) for i, p in enumerate(pairs) if p[0] != p[1])
        raise DataError(
            f"the classes in {evaluation.config.data.root} are not those that the net was trained "
            f"on: class {number} is {found} instead of {expected}"
        )
    contents = source.describe_contents()
    recorded = {key: value for key, value in checkpoint.fingerprint.items() if key in contents}
    if difference := first_difference(recorded, contents):
        warnings.warn(f"these are not the images of the run: {difference}", stacklevel=2)


def _test(
    net: ResNet, batches: Batches, evaluation: Evaluation, progress: Progress
) -> list[SplitErrors]:
    config = evaluation.config
    protocol = EvalProtocol(
        name=cast(ProtocolName, evaluation.protocol),
        image_size=config.data.image_size,
        shorter_side=evaluation.shorter_side,
        scales=evaluation.scales,
        mirror=config.recipe.mirror and config.recipe.augmentation != "none",
    )
    num_views, at_once = protocol.views_per_image(), config.runtime.eval_batch_size
    tested = []
    try:
        for split in [evaluation.split] if evaluation.split else batches.splits:
            errors = errors_over_views(
                net, batches, split, protocol, at_once, progress.show_preparation
            )
            tested.append(SplitErrors(split, batches.splits[split], num_views, errors))
    finally:
        progress.end()
    return tested


def _to_dict(
    evaluation: Evaluation, tested: list[SplitErrors], iteration: int | None
) -> dict[str, Any]:
    """The content of the JSON file; errors in percent."""
    config, protocol, run = evaluation.config, evaluation.protocol, evaluation.run
    return {
        "net": net_name(config),
        "data": data_name(config),
        "run": None if run is None else str(run),
        "iteration": iteration,
        "weights": config.weights if run is None else None,
        "weights_digest": config.weights_digest if run is None else None,
        "protocol": protocol,
        "image_size": config.data.image_size,
        "shorter_side": evaluation.shorter_side if protocol != "multi-scale" else None,
        "scales": list(evaluation.scales) if protocol == "multi-scale" else None,
        "views_per_image": tested[0].views_per_image,
        "splits": {
            result.split: {"num_images": result.num_images}
            | {f"top{k}_error": error for k, error in result.errors.items()}
            for result in tested
        },
    }


def _show(
    evaluation: Evaluation, tested: list[SplitErrors], iteration: int | None, console: Console
) -> None:
    """Print the errors as a table, with the paper's error if it reports one."""
    config = evaluation.config
    after = "" if iteration is None else f" after {iteration:,} iterations"
    count = tested[0].views_per_image
    test = f"{evaluation.protocol} ({count} view{'' if count == 1 else 's'})"
    heading = f"{net_name(config)}{after}, {data_name(config)}: {test}"
    console.print(heading, highlight=False, markup=False)
    ks = list(tested[0].errors)
    columns = ["images", *(f"top-{k} error (%)" for k in ks)]
    table = Table("split", *(Column(name, justify="right") for name in columns))
    for result in tested:
        errors = [f"{error:.2f}" for error in result.errors.values()]
        table.add_row(result.split, f"{result.num_images:,}", *errors)
    reference = paper.reference_under_protocol(config, evaluation.protocol)
    if reference is not None:
        top5 = "" if reference.top5 is None else f"{reference.top5:.2f}"
        table.add_row(f"paper, {reference.table}", "", *[str(reference), top5][: len(ks)])
    print_table(console, table)
    if reference is not None and (different := _differences(evaluation, tested)):
        note = f"Not comparable with the paper's error. Here: {'; '.join(different)}."
        console.print(note, highlight=False, markup=False)


def _differences(evaluation: Evaluation, tested: list[SplitErrors]) -> list[str]:
    """How the net, its training or this test differ from the paper's."""
    config = evaluation.config
    if evaluation.run is None:
        different = ["weights from a file"]  # their training is unknown
    else:
        different = paper.differences(config, num_skipped_images(evaluation.run))
        if not is_finished(evaluation.run):
            different.insert(0, "the run is not finished")
    if evaluation.has_custom_sizes():
        different.append("other sizes of views")
    count = paper.NUM_TEST_IMAGES[str(config.family)]
    if all(result.num_images != count for result in tested):
        different.insert(0, f"not the paper's {count:,} images")
    return different
