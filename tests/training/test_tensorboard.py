"""What TensorBoard shows, while a run is killed and resumed under its eyes."""

import json
from pathlib import Path
from urllib.error import URLError
from urllib.parse import urlencode
from urllib.request import urlopen

import pytest
from support.training import Tiny, TrainRun, interrupt
from support.waiting import served, wait_until

from resnet_degradation.config.identity import run_folder
from resnet_degradation.records.metrics import read_metrics


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
