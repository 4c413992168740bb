"""Times a training view of a photograph, compared with torchvision's reference transforms.

`python scripts/bench/photographs.py` runs only this measurement. Variants take turns, image by
image, on one thread. The results are medians of CPU time, which other processes affect less than
elapsed time.
"""

import argparse
import json
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

import torch
import torchvision.transforms.v2 as T
from PIL import Image
from sklearn.datasets import load_sample_images

from resnet_degradation.data.views import read_image, read_jittered_view

training_view = partial(read_jittered_view, seed=0, image_size=224, scale=(256, 480), mirror=True)


def write_photographs(folder: Path) -> list[str]:
    """Write JPEG files of 500x375, cropped from scikit-learn's two photographs of 640x427."""
    paths = []
    for number, photo in enumerate(load_sample_images().images):
        for position in range(12):
            left, top = 12 * position, 4 * position
            path = folder / f"{number}-{position}.jpg"
            crop = Image.fromarray(photo).crop((left, top, left + 500, top + 375))
            crop.save(path, quality=95)
            paths.append(str(path))
    return paths


def reference_transforms(to_float: bool) -> Callable[[Image.Image], Any]:
    """Make torchvision's training transforms, as in its references/classification/presets.py."""
    steps = [T.RandomResizedCrop(224, antialias=True), T.RandomHorizontalFlip(), T.PILToTensor()]
    if to_float:
        steps += [
            T.ToDtype(torch.float, scale=True),
            T.Normalize(mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225)),
        ]
    composed: Callable[[Image.Image], Any] = T.Compose(steps)
    return composed


def open_and_transform(
    transform: Callable[[Image.Image], Any], path: str, _iteration: int, _: int
) -> Any:
    """Read an image file as torchvision's ImageFolder does, and transform it."""
    with Path(path).open("rb") as file:
        return transform(Image.open(file).convert("RGB"))


def measure_view_times(rounds: int) -> dict[str, float]:
    """Measure the milliseconds of CPU time of each variant, per view."""
    variants: dict[str, Callable[[str, int, int], Any]] = {
        "exact": training_view,
        "fast": partial(training_view, resize="fast"),
        "torchvision, bytes": partial(open_and_transform, reference_transforms(to_float=False)),
        "torchvision, floats": partial(open_and_transform, reference_transforms(to_float=True)),
        "decoding alone": lambda path, _iteration, _position: read_image(path),
    }
    times: dict[str, list[float]] = {name: [] for name in variants}
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        paths = write_photographs(Path(folder))
        for number in range(rounds):
            for name, view in variants.items():
                start_time = time.thread_time()
                view(paths[number % len(paths)], number, 0)
                times[name].append(time.thread_time() - start_time)
    torch.set_num_threads(threads)
    return {name: round(1000 * median(taken), 3) for name, taken in times.items()}


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=400, help="views of each variant")
    print(json.dumps(measure_view_times(parser.parse_args().rounds), indent=2))
