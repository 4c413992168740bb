"""Image retrieval with descriptors that sum residuals (VLAD) or sum the vectors themselves.

Patches of the digits are assigned to the nearest of a few visual words. A digit is described, for
each word, by the sum of the differences between its patches and the word (VLAD), or by the sum of
the patches themselves. Both have the same length. The program measures which one
finds more digits of the same class.
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


def patches_of(images: Values) -> Values:
    """All patches of images (N, 8, 8), each with its mean subtracted: (N, 25, 16)."""
    windows = np.lib.stride_tricks.sliding_window_view(
        images, (PATCH_SIZE, PATCH_SIZE), axis=(1, 2)
    )
    flat = windows.reshape(len(images), -1, PATCH_SIZE * PATCH_SIZE)
    centred: Values = flat - flat.mean(axis=2, keepdims=True)
    return centred


def describe(patches: Values, words: Values, residual: bool) -> Values:
    """The unit-length descriptors (N, words * 16) of images, from their patches (N, P, 16)."""
    distances = ((patches[:, :, None] - words) ** 2).sum(axis=3)
    nearest = np.eye(len(words))[distances.argmin(axis=2)]  # (N, P, words)
    sums = np.einsum("npw,npd->nwd", nearest, patches)
    if residual:
        sums -= nearest.sum(axis=1)[:, :, None] * words
    signed_root = np.sign(sums) * np.sqrt(np.abs(sums))  # as is usual for VLAD
    flat = signed_root.reshape(len(patches), -1)
    unit: Values = flat / np.maximum(np.linalg.norm(flat, axis=1, keepdims=True), 1e-12)
    return unit


def precision(descriptors: Values, labels: npt.NDArray[np.int64]) -> float:
    """The percentage of the TOP_K nearest digits that have the class of the held-out digit."""
    scores = descriptors[NUM_TRAIN:] @ descriptors[:NUM_TRAIN].T
    found = np.argsort(-scores, axis=1)[:, :TOP_K]
    right = labels[:NUM_TRAIN][found] == labels[NUM_TRAIN:, None]
    return 100 * float(right.mean())


def measure(num_words: int, seed: int) -> tuple[float, float]:
    """The precision of summed vectors and of summed residuals, with k-means words from `seed`."""
    digits = load_digits()
    patches = patches_of(digits.images / 16)
    train = patches[:NUM_TRAIN].reshape(-1, PATCH_SIZE * PATCH_SIZE)
    words = KMeans(num_words, n_init=1, random_state=seed).fit(train).cluster_centers_
    vectors, residuals = (
        precision(describe(patches, words, residual), digits.target) for residual in (False, True)
    )
    return vectors, residuals


def plot(results: dict[int, list[tuple[float, float]]]) -> Figure:
    """Precision against the number of words; a dot is one choice of words."""
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
    """Measure, print and draw."""
    results = {}
    for num_words in WORDS:
        pairs = results[num_words] = [measure(num_words, seed) for seed in range(3)]
        texts = [f"{mean(v):.1f} ± {stdev(v):.1f} %" for v in zip(*pairs, strict=True)]
        print(f"{num_words:3} words: sums of vectors {texts[0]}, sums of residuals {texts[1]}")
    folder.mkdir(parents=True, exist_ok=True)
    print(f"figure: {save_figure(plot(results), folder / 'vlad')[0]}")


if __name__ == "__main__":
    main()
