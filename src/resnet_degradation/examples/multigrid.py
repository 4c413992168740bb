"""A Poisson equation solved by relaxation alone, and with corrections from a coarse grid.

u'' = f on the unit interval, with u = 0 at both ends. Relaxation (weighted Jacobi) removes
errors that change from point to point, but hardly touches smooth ones. The two-grid method solves
for the error on a coarse grid, with the residual as the right side, and adds it as a correction.
"""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import numpy.typing as npt
from matplotlib import rc_context
from matplotlib.figure import Figure

from resnet_degradation.figures.style import rc, save_figure

Values = npt.NDArray[np.float64]
NUM_POINTS = 127  # inside the interval; the coarse grid has every second one
WEIGHT = 2 / 3  # weight of Jacobi's update; best for the errors that the coarse grid misses
CYCLES = 8  # coarse corrections
SWEEPS = 3  # before each coarse correction, and again after it


def apply(u: Values) -> Values:
    """The left side of the equation: the second difference of u (N,), with u = 0 outside."""
    padded = np.pad(u, 1)
    second: Values = (padded[:-2] - 2 * u + padded[2:]) * (len(u) + 1) ** 2
    return second


def relax(u: Values, f: Values, sweeps: int) -> Values:
    """u (N,) after some sweeps of weighted Jacobi."""
    for _ in range(sweeps):
        u = u - WEIGHT * (f - apply(u)) / (2 * (len(u) + 1) ** 2)
    return u


def solve(f: Values) -> Values:
    """The exact solution (N,) of the discrete equation."""
    matrix = np.stack([apply(unit) for unit in np.eye(len(f))])
    exact: Values = np.linalg.solve(matrix, f).astype(np.float64)
    return exact


def two_grids(u: Values, f: Values) -> Values:
    """u (N,) after sweeps, a correction from the coarse grid, and sweeps again."""
    u = relax(u, f, SWEEPS)
    residual = f - apply(u)
    coarse = (residual[:-2:2] + 2 * residual[1::2] + residual[2::2]) / 4
    correction = np.zeros_like(u)
    correction[1::2] = solve(coarse)
    around = np.pad(correction, 1)
    correction[::2] = (around[:-2:2] + around[2::2]) / 2  # the mean of both neighbours
    return relax(u + correction, f, SWEEPS)


def errors(step: Callable[[Values, Values], Values], num_steps: int, f: Values) -> list[float]:
    """The norm of the error before and after each step, relative to the initial one."""
    exact, u = solve(f), np.zeros_like(f)
    norms = [float(np.linalg.norm(u - exact))]
    for _ in range(num_steps):
        u = step(u, f)
        norms.append(float(np.linalg.norm(u - exact)))
    return [norm / norms[0] for norm in norms]


def measure() -> dict[str, tuple[list[int], list[float]]]:
    """For each method, numbers of sweeps over the fine grid, and the errors after these sweeps."""
    f = np.random.default_rng(0).standard_normal(NUM_POINTS)
    per_cycle = 2 * SWEEPS
    return {
        "relaxation alone": (
            [per_cycle * i for i in range(CYCLES + 1)],
            errors(lambda u, f: relax(u, f, per_cycle), CYCLES, f),
        ),
        "with a coarse-grid correction": (
            [per_cycle * i for i in range(CYCLES + 1)],
            errors(two_grids, CYCLES, f),
        ),
    }


def plot(curves: dict[str, tuple[list[int], list[float]]]) -> Figure:
    """The error against sweeps."""
    with rc_context(rc()):
        figure = Figure(figsize=(4.6, 3.4))
        axes = figure.subplots()
        for (name, (sweeps, shares)), colour in zip(
            curves.items(), ("#D55E00", "#0072B2"), strict=True
        ):
            axes.semilogy(sweeps, shares, ".-", color=colour, linewidth=2, label=name)
        axes.set(xlabel="sweeps over the fine grid", ylabel="error (relative to the initial one)")
        axes.legend(loc=(0.36, 0.78))
        figure.subplots_adjust(left=0.16, right=0.97, top=0.96, bottom=0.15)
    return figure


def main(folder: Path = Path("outputs/examples")) -> None:
    """Measure, print and draw."""
    curves = measure()
    for name, (sweeps, shares) in curves.items():
        print(f"{name}: after {sweeps[-1]} sweeps, {shares[-1]:.1e} of the initial error")
    folder.mkdir(parents=True, exist_ok=True)
    print(f"figure: {save_figure(plot(curves), folder / 'multigrid')[0]}")


if __name__ == "__main__":
    main()
