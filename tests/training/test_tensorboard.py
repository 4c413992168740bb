"""The content of TensorBoard, also while a run is killed and resumed."""

import json
import re
from pathlib import Path
from typing import Any
from urllib.error import URLError
from urllib.parse import urlencode
from urllib.request import urlopen

import pytest
import torch
from support.training import Tiny, TrainRun, interrupt
from support.waiting import served, wait_until
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.plugins.custom_scalar import layout_pb2
from tensorboard.plugins.hparams.plugin_data_pb2 import HParamsPluginData

from resnet_degradation.config.identity import run_folder
from resnet_degradation.records.metrics import read_metrics
from resnet_degradation.records.summary import read_final_errors
from resnet_degradation.training.contact_sheet import make_contact_sheet


@pytest.mark.slow
def test_a_tensorboard_that_looks_on_sees_no_point_twice(tiny: Tiny, train_run: TrainRun) -> None:
    config = tiny()
    outputs = Path(config.output_dir)
    query = urlencode(
        {"run": run_folder(config).relative_to(outputs).as_posix(), "tag": "loss/train"}
    )
    outputs.mkdir()
    with served(outputs) as address:

        def steps() -> list[int]:
            try:
                with urlopen(f"{address}/data/plugin/scalars/scalars?{query}") as answer:
                    return [step for _, step, _ in json.load(answer)]
            except URLError:
                return []

        interrupt(config, 11)
        wait_until(lambda: steps() == [3, 4, 6, 8, 9])
        interrupt(config, 12)
        folder = train_run(config)
        wait_until(lambda: steps() == [row.iteration for row in read_metrics(folder)])


def assert_shows_both_errors_in_one_chart(events: EventAccumulator) -> None:
    (config,) = events.Tensors("custom_scalars__config__")
    layout = layout_pb2.Layout.FromString(config.tensor_proto.string_val[0])
    patterns = [re.compile(tag) for tag in layout.category[0].chart[0].multiline.tag]
    tags = [tag for tag in events.Tags()["scalars"] if any(p.fullmatch(tag) for p in patterns)]
    assert tags == ["error/train", "error/val"]


def test_plain_and_residual_runs_have_the_same_tags_and_say_their_final_errors(
    tiny: Tiny, train_run: TrainRun
) -> None:
    shown = {}
    for residual in ("true", "false"):
        folder = train_run(tiny(f"residual={residual}"))
        events = EventAccumulator(str(folder)).Reload()
        name = folder.name.split("-seed")[0]
        shown[name] = events.Tags()["scalars"]
        assert shown_settings(folder)["net"].string_value == name
        final = events.Scalars("final/train_error")[-1].value
        assert final == pytest.approx(read_final_errors(folder).train_error)
        assert_shows_both_errors_in_one_chart(events)
        sheet = events.Images("training images")[0]
        assert sheet.width > 8 * 64  # enlarged, with names below
    assert [*shown] == ["ResNet-8-width0.5", "plain-8-width0.5"]
    assert len({tuple(tags) for tags in shown.values()}) == 1


def shown_settings(folder: Path) -> dict[str, Any]:
    """TensorBoard's hparams of a run."""
    metadata = EventAccumulator(str(folder)).Reload().summary_metadata
    # TensorBoard would show the columns of the first run that has this tag, and no others.
    assert not any(tag.endswith("experiment") for tag in metadata)
    (start,) = (
        HParamsPluginData.FromString(meta.plugin_data.content).session_start_info
        for tag, meta in metadata.items()
        if tag.endswith("session_start_info")
    )
    return dict(start.hparams)


def test_runs_of_one_net_differ_in_their_shown_settings_before_they_finish(
    tiny: Tiny, train_run: TrainRun
) -> None:
    unfinished = tiny("recipe.momentum=0.95")
    interrupt(unfinished, 2)
    first, other = shown_settings(train_run(tiny())), shown_settings(run_folder(unfinished))
    assert first.keys() == other.keys()
    assert [key for key in first if first[key] != other[key]] == ["recipe.momentum"]


def test_a_contact_sheet_shows_every_image_and_its_name() -> None:
    images = torch.linspace(0, 1, 9)[:, None, None, None].expand(9, 3, 16, 16)
    names = ["zebra"] * 8 + ["a very long name of a class"]
    sheet = make_contact_sheet(images, names)
    assert sheet.shape == (2 * (64 + 20) + 4, 8 * (64 + 4) + 4, 3)
    for number in range(9):
        row, column = divmod(number, 8)
        top, left = 4 + 84 * row, 4 + 68 * column
        assert (sheet[top : top + 64, left : left + 64] == round(number / 8 * 255)).all()
        below = sheet[top + 64 : top + 80]
        assert (below[:, left : left + 64] < 128).any()
        assert (below[:, left + 65 : left + 68] == 255).all()  # no name is wider than its image
    photograph = make_contact_sheet(torch.zeros(1, 3, 224, 224), ["fotos-\udcfc"])
    assert photograph.shape == (224 + 24, 224 + 8, 3)
