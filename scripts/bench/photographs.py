"""Time a training view of a photograph, compared with torchvision's reference transforms.

`python scripts/bench/photographs.py` measures it alone. The variants take turns, image by image, on
one thread; reported are medians of CPU time, which other processes change less than elapsed time.
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
    """JPEG files of 500x375, cut out of scikit-learn's two photographs of 640x427."""
    paths = []
    for number, photo in enumerate(load_sample_images().images):
        for place in range(12):
            left, top = 12 * place, 4 * place
            path = folder / f"{number}-{place}.jpg"
            crop = Image.fromarray(photo).crop((left, top, left + 500, top + 375))
            crop.save(path, quality=95)
            paths.append(str(path))
    return paths


def reference_transforms(to_float: bool) -> Callable[[Image.Image], Any]:
    """torchvision's training transforms (references/classification/presets.py): bytes or floats."""
    steps = [T.RandomResizedCrop(224, antialias=True), T.RandomHorizontalFlip(), T.PILToTensor()]
    if to_float:
        steps += [
            T.ToDtype(torch.float, scale=True),
            T.Normalize(mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225)),
        ]
    composed: Callable[[Image.Image], Any] = T.Compose(steps)
    return composed


def open_and(transform: Callable[[Image.Image], Any], path: str, _iteration: int, _: int) -> Any:
    """Read an image file as torchvision's ImageFolder does."""
    with Path(path).open("rb") as file:
        return transform(Image.open(file).convert("RGB"))


def view_times(rounds: int) -> dict[str, float]:
    """Milliseconds of CPU time of one view, or of a part of one, by its name."""
    variants: dict[str, Callable[[str, int, int], Any]] = {
        "exact": training_view,
        "fast": partial(training_view, resize="fast"),
        "torchvision, bytes": partial(open_and, reference_transforms(to_float=False)),
        "torchvision, floats": partial(open_and, reference_transforms(to_float=True)),
        "decoding alone": lambda path, _iteration, _position: read_image(path),
    }
    times: dict[str, list[float]] = {name: [] for name in variants}
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        paths = write_photographs(Path(folder))
        for number in range(rounds):
            for name, view in variants.items():
                began = time.thread_time()
                view(paths[number % len(paths)], number, 0)
                times[name].append(time.thread_time() - began)
    torch.set_num_threads(threads)
    return {name: round(1000 * median(taken), 3) for name, taken in times.items()}


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=400, help="views of each variant")
    print(json.dumps(view_times(parser.parse_args().rounds), indent=2))
