"""Compares two descriptors for image retrieval: sums of residuals (VLAD) and sums of vectors.

Each patch of a digit is assigned to the nearest of a few visual words. For each word, a descriptor
contains the sum of the patches minus the word (VLAD), or the sum of the patches themselves. Both
descriptors have the same length. The program measures which one finds more digits of the same
class.
"""

from pathlib import Path
from statistics import mean, stdev

import numpy as np
import numpy.typing as npt
from matplotlib import rc_context
from matplotlib.figure import Figure
from sklearn.cluster import KMeans
from sklearn.datasets import load_digits

from resnet_degradation.figures.style import rc, save_figure

Values = npt.NDArray[np.float64]
PATCH_SIZE, NUM_TRAIN, TOP_K = 4, 1437, 10
WORDS = (2, 4, 8, 16, 32, 64)


def extract_patches(images: Values) -> Values:
    """All patches of images of shape (N, 8, 8), minus their means, as an array (N, 25, 16)."""
    windows = np.lib.stride_tricks.sliding_window_view(
        images, (PATCH_SIZE, PATCH_SIZE), axis=(1, 2)
    )
    flat = windows.reshape(len(images), -1, PATCH_SIZE * PATCH_SIZE)
    centred: Values = flat - flat.mean(axis=2, keepdims=True)
    return centred


def describe(patches: Values, words: Values, residual: bool) -> Values:
    """Compute the unit-length descriptors of images from their patches.

    patches: array of shape (N, P, 16). Returns an array of shape (N, words * 16).
    """
    distances = ((patches[:, :, None] - words) ** 2).sum(axis=3)
    nearest = np.eye(len(words))[distances.argmin(axis=2)]  # (N, P, words)
    sums = np.einsum("npw,npd->nwd", nearest, patches)
    if residual:
        sums -= nearest.sum(axis=1)[:, :, None] * words
    signed_root = np.sign(sums) * np.sqrt(np.abs(sums))  # power normalization, usual for VLAD
    flat = signed_root.reshape(len(patches), -1)
    normalized: Values = flat / np.maximum(np.linalg.norm(flat, axis=1, keepdims=True), 1e-12)
    return normalized


def precision(descriptors: Values, labels: npt.NDArray[np.int64]) -> float:
    """The percentage of the TOP_K nearest training digits that have the held-out digit's class."""
    similarities = descriptors[NUM_TRAIN:] @ descriptors[:NUM_TRAIN].T
    nearest = np.argsort(-similarities, axis=1)[:, :TOP_K]
    is_same_class = labels[:NUM_TRAIN][nearest] == labels[NUM_TRAIN:, None]
    return 100 * float(is_same_class.mean())


def measure(num_words: int, seed: int) -> tuple[float, float]:
    """The precision of sums of vectors and of sums of residuals; `seed` initializes k-means."""
    digits = load_digits()
    patches = extract_patches(digits.images / 16)
    train = patches[:NUM_TRAIN].reshape(-1, PATCH_SIZE * PATCH_SIZE)
    words = KMeans(num_words, n_init=1, random_state=seed).fit(train).cluster_centers_
    vectors, residuals = (
        precision(describe(patches, words, residual), digits.target) for residual in (False, True)
    )
    return vectors, residuals


def plot(results: dict[int, list[tuple[float, float]]]) -> Figure:
    """Plot the precision against the number of words: the mean as a line, each seed as a dot."""
    with rc_context(rc()):
        figure = Figure(figsize=(4.6, 3.4))
        axes = figure.subplots()
        for kind, (name, colour) in enumerate(
            (("sums of vectors", "#D55E00"), ("sums of residuals (VLAD)", "#0072B2"))
        ):
            means = [mean(pair[kind] for pair in pairs) for pairs in results.values()]
            axes.plot([*results], means, color=colour, linewidth=2, label=name)
            for num_words, pairs in results.items():
                axes.plot([num_words] * len(pairs), [p[kind] for p in pairs], ".", color=colour)
        axes.set_xscale("log", base=2)
        axes.xaxis.set_major_formatter("{x:g}")
        axes.set(xlabel="visual words", ylabel=f"right among the first {TOP_K} (%)")
        axes.legend()
        figure.subplots_adjust(left=0.14, right=0.97, top=0.96, bottom=0.15)
    return figure


def main(folder: Path = Path("outputs/examples")) -> None:
    """Measure the precisions, print them and plot them."""
    results = {}
    for num_words in WORDS:
        pairs = results[num_words] = [measure(num_words, seed) for seed in range(3)]
        texts = [f"{mean(v):.1f} ± {stdev(v):.1f} %" for v in zip(*pairs, strict=True)]
        print(f"{num_words:3} words: sums of vectors {texts[0]}, sums of residuals {texts[1]}")
    folder.mkdir(parents=True, exist_ok=True)
    print(f"figure: {save_figure(plot(results), folder / 'vlad')[0]}")


if __name__ == "__main__":
    main()
