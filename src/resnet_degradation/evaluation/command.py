"""`resnet-eval`: tests a net, prints a table, writes a JSON record and exports weights."""

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
from resnet_degradation.records.checkpoint import Checkpoint, describe_first_difference
from resnet_degradation.records.run_folder import count_skipped_images, read_classes
from resnet_degradation.records.summary import is_finished
from resnet_degradation.reference import paper
from resnet_degradation.system.atomic_files import check_writable, write_json
from resnet_degradation.system.errors import ConfigError, DataError
from resnet_degradation.training.build import choose_device
from resnet_degradation.training.describe import describe_environment
from resnet_degradation.training.load_run import make_inspection_batches, require_checkpoint
from resnet_degradation.training.torch_settings import restore_settings, set_arithmetic

# If weights from a file have an error above this fraction of that of random guessing, the usual
# causes are printed.
HIGH_ERROR_RATIO = 0.75


@dataclass(frozen=True)
class SplitErrors:
    """The errors of one held-out split."""

    split: str
    num_images: int
    views_per_image: int
    errors: dict[int, float]  # k -> top-k error in percent


@restore_settings()
def evaluate(evaluation: Evaluation, console: Console, progress: Progress) -> list[SplitErrors]:
    """Test a net, print a table, and write the JSON record and the exported weights.

    Raises UserError for errors that the user can fix.
    """
    config, run = evaluation.config, evaluation.run
    if evaluation.export is not None:
        check_weights_suffix(evaluation.export)
    checkpoint = None if run is None else require_checkpoint(run)
    results: list[SplitErrors] = []
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
        file = evaluation.record_file()
        # Checked before the test, so that no test result is lost.
        problem = f"the record of this evaluation cannot be written to {file.parent}"
        check_writable(file.parent, problem, "choose another folder with output_dir=FOLDER")
        results = _test_splits(net, batches, evaluation, progress)
        iteration = None if checkpoint is None else checkpoint.iteration
        record = _make_record(evaluation, results, iteration)
        record |= {"seconds": time.monotonic() - start} | describe_environment(device)
        _print_results(evaluation, results, iteration, console)
        if run is None and (note := explain_high_error(config, results, len(classes))):
            console.print(note, highlight=False, markup=False)
        write_json(file, record)
        progress.say(f"record: {file}")
    if evaluation.export is not None:
        metadata = {
            "net": net_name(config),
            "data": data_name(config),
            "classes": json.dumps(classes),
        }
        write_weights(net, evaluation.export, metadata)
        progress.say(f"weights: {evaluation.export}")
    return results


def explain_high_error(config: Config, results: list[SplitErrors], num_classes: int) -> str | None:
    """Return the usual causes of an error close to that of guessing; None if it is lower."""
    chance_error = 100 * (1 - 1 / num_classes)
    highest = max(result.errors[1] for result in results)
    if highest <= HIGH_ERROR_RATIO * chance_error:
        return None
    causes = [
        f"a different mean or std (here data.mean={config.data.mean}, "
        f"data.std={config.data.std or 'null'})",
        "a different order of the classes",
    ]
    if config.residual and config.shortcut == "A":
        causes.append(f"different zero padding (here shortcut_padding={config.shortcut_padding})")
    return (
        f"An error of {highest:.2f} % is high: guessing gives {chance_error:.2f} %. If these "
        f"weights do better in other code, the usual causes are: {'; '.join(causes)}."
    )


def _load_net(
    evaluation: Evaluation,
    checkpoint: Checkpoint | None,
    expected_num_classes: int | None,
    progress: Progress,
) -> ResNet:
    """Load the net from the checkpoint if there is one, else from the weights file.

    expected_num_classes: number of classes; None to take it from the weights.
    """
    config = evaluation.config
    if checkpoint is not None:
        weights = checkpoint.parts["net"]
        net = make_net(config, expected_num_classes or len(weights["fc.bias"]), initialized=False)
        assign_weights(net, weights, f"the checkpoint of {evaluation.run}")
    else:
        file = Path(str(config.weights))
        net = make_net(config, expected_num_classes or num_classes(file), initialized=False)
        layout = load_weights(net, file)
        progress.say(layout)
    return net


def _check_images(evaluation: Evaluation, source: Source, checkpoint: Checkpoint | None) -> None:
    """Check that the split exists, and that the run was trained on these classes and images.

    Raises ConfigError for an unknown split, and DataError if the classes differ. Warns if the
    images differ.
    """
    split = evaluation.split
    if split is not None and split not in source.held_out:
        raise ConfigError(
            f"split={split} does not exist in these data: choose {', '.join(source.held_out)}"
        )
    if evaluation.run is None or checkpoint is None:
        return
    trained_on = read_classes(evaluation.run)
    if trained_on is not None and trained_on != source.classes:
        pairs = zip([*trained_on, "absent"], [*source.classes, "absent"], strict=False)
        number, (expected, found) = next((i, p) for i, p in enumerate(pairs) if p[0] != p[1])
        raise DataError(
            f"the classes in {evaluation.config.data.root} are not those that the net was trained "
            f"on: class {number} is {found}, but should be {expected}"
        )
    contents = source.describe_contents()
    recorded = {key: value for key, value in checkpoint.fingerprint.items() if key in contents}
    if difference := describe_first_difference(recorded, contents):
        warnings.warn(f"the run was trained on other images: {difference}", stacklevel=2)


def _test_splits(
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
    num_views, batch_size = protocol.views_per_image(), config.runtime.eval_batch_size
    results = []
    try:
        for split in [evaluation.split] if evaluation.split else batches.splits:
            errors = errors_over_views(
                net, batches, split, protocol, batch_size, progress.show_preparation
            )
            results.append(SplitErrors(split, batches.splits[split], num_views, errors))
    finally:
        progress.end()
    return results


def _make_record(
    evaluation: Evaluation, results: list[SplitErrors], iteration: int | None
) -> dict[str, Any]:
    """The content of the JSON record."""
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
        "views_per_image": results[0].views_per_image,
        "splits": {
            result.split: {"num_images": result.num_images}
            | {f"top{k}_error": error for k, error in result.errors.items()}
            for result in results
        },
    }


def _print_results(
    evaluation: Evaluation, results: list[SplitErrors], iteration: int | None, console: Console
) -> None:
    """Print a table of the errors, with the paper's error if it reports one."""
    config = evaluation.config
    training = "" if iteration is None else f" after {iteration:,} iterations"
    num_views = results[0].views_per_image
    test = f"{evaluation.protocol} ({num_views} view{'' if num_views == 1 else 's'})"
    heading = f"{net_name(config)}{training}, {data_name(config)}: {test}"
    console.print(heading, highlight=False, markup=False)
    ks = list(results[0].errors)
    columns = ["images", *(f"top-{k} error (%)" for k in ks)]
    table = Table("split", *(Column(name, justify="right") for name in columns))
    for result in results:
        errors = [f"{error:.2f}" for error in result.errors.values()]
        table.add_row(result.split, f"{result.num_images:,}", *errors)
    reference = paper.find_reference_for_protocol(config, evaluation.protocol)
    if reference is not None:
        top5 = "" if reference.top5 is None else f"{reference.top5:.2f}"
        table.add_row(f"paper, {reference.table}", "", *[str(reference), top5][: len(ks)])
    print_table(console, table)
    if reference is not None and (differences := _list_differences(evaluation, results)):
        note = f"Not comparable with the paper's error. Differences: {'; '.join(differences)}."
        console.print(note, highlight=False, markup=False)


def _list_differences(evaluation: Evaluation, results: list[SplitErrors]) -> list[str]:
    """List how the net, its training or this test differ from the paper's."""
    config = evaluation.config
    if evaluation.run is None:
        differences = ["weights from a file"]  # their training is unknown
    else:
        differences = paper.list_differences(config, count_skipped_images(evaluation.run))
        if not is_finished(evaluation.run):
            differences.insert(0, "the run is not finished")
    if evaluation.has_custom_sizes():
        differences.append("non-default sizes of views")
    paper_count = paper.NUM_TEST_IMAGES[str(config.family)]
    if all(result.num_images != paper_count for result in results):
        differences.insert(0, f"not the paper's {paper_count:,} images")
    return differences
