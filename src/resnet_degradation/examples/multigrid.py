"""Solves a Poisson equation by relaxation, with and without corrections from a coarse grid.

The equation is u'' = f on the unit interval, with u = 0 at both ends. Relaxation (weighted Jacobi)
removes errors that oscillate from point to point, but hardly reduces smooth ones. The two-grid
method computes the error on a coarse grid, by solving the equation for the residual, and adds it
as a correction.
"""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import numpy.typing as npt
from matplotlib import rc_context
from matplotlib.figure import Figure

from resnet_degradation.figures.style import rc, save_figure

Values = npt.NDArray[np.float64]
NUM_POINTS = 127  # interior points of the fine grid; the coarse grid has every second one
JACOBI_WEIGHT = 2 / 3  # the best weight for errors that the coarse grid cannot represent
NUM_CYCLES = 8  # each cycle has one coarse correction
NUM_SWEEPS = 3  # before each coarse correction, and again after it


def apply_operator(u: Values) -> Values:
    """Apply the left side of the equation, a second difference, to u of shape (N,)."""
    padded = np.pad(u, 1)
    second: Values = (padded[:-2] - 2 * u + padded[2:]) * (len(u) + 1) ** 2
    return second


def relax(u: Values, f: Values, sweeps: int) -> Values:
    """Apply sweeps of weighted Jacobi to u of shape (N,), and return the result."""
    for _ in range(sweeps):
        u = u - JACOBI_WEIGHT * (f - apply_operator(u)) / (2 * (len(u) + 1) ** 2)
    return u


def solve_exactly(f: Values) -> Values:
    """The exact solution of the discrete equation, of shape (N,)."""
    matrix = np.stack([apply_operator(unit_vector) for unit_vector in np.eye(len(f))])
    exact: Values = np.linalg.solve(matrix, f).astype(np.float64)
    return exact


def two_grid_cycle(u: Values, f: Values) -> Values:
    """Apply sweeps, a correction from the coarse grid, and sweeps again to u of shape (N,)."""
    u = relax(u, f, NUM_SWEEPS)
    residual = f - apply_operator(u)
    coarse_residual = (residual[:-2:2] + 2 * residual[1::2] + residual[2::2]) / 4
    correction = np.zeros_like(u)
    correction[1::2] = solve_exactly(coarse_residual)
    padded = np.pad(correction, 1)
    correction[::2] = (padded[:-2:2] + padded[2::2]) / 2  # the mean of both neighbours
    return relax(u + correction, f, NUM_SWEEPS)


def relative_errors(
    step: Callable[[Values, Values], Values], num_steps: int, f: Values
) -> list[float]:
    """The norms of the initial error and of the error after each step, over the initial norm."""
    exact, u = solve_exactly(f), np.zeros_like(f)
    norms = [float(np.linalg.norm(u - exact))]
    for _ in range(num_steps):
        u = step(u, f)
        norms.append(float(np.linalg.norm(u - exact)))
    return [norm / norms[0] for norm in norms]


def measure() -> dict[str, tuple[list[int], list[float]]]:
    """The numbers of sweeps over the fine grid and the errors after them, for each method."""
    f = np.random.default_rng(0).standard_normal(NUM_POINTS)
    sweeps_per_cycle = 2 * NUM_SWEEPS
    num_sweeps = [sweeps_per_cycle * i for i in range(NUM_CYCLES + 1)]
    return {
        "relaxation alone": (
            num_sweeps,
            relative_errors(lambda u, f: relax(u, f, sweeps_per_cycle), NUM_CYCLES, f),
        ),
        "with a coarse-grid correction": (
            num_sweeps,
            relative_errors(two_grid_cycle, NUM_CYCLES, f),
        ),
    }


def plot(curves: dict[str, tuple[list[int], list[float]]]) -> Figure:
    """Plot the errors of each method against the number of sweeps."""
    with rc_context(rc()):
        figure = Figure(figsize=(4.6, 3.4))
        axes = figure.subplots()
        for (name, (num_sweeps, errors)), colour in zip(
            curves.items(), ("#D55E00", "#0072B2"), strict=True
        ):
            axes.semilogy(num_sweeps, errors, ".-", color=colour, linewidth=2)
            offset = (8, 4 if errors[2] < 0.1 else -14)  # in points; away from both curves
            axes.annotate(
                name, (num_sweeps[2], errors[2]), offset, textcoords="offset points", color=colour
            )
        axes.set(xlabel="sweeps over the fine grid", ylabel="error (relative to the initial one)")
        figure.subplots_adjust(left=0.16, right=0.97, top=0.96, bottom=0.15)
    return figure


def main(folder: Path = Path("outputs/examples")) -> None:
    """Measure the errors, print them and plot them."""
    curves = measure()
    for name, (num_sweeps, errors) in curves.items():
        print(f"{name}: after {num_sweeps[-1]} sweeps, {errors[-1]:.1e} of the initial error")
    folder.mkdir(parents=True, exist_ok=True)
    print(f"figure: {save_figure(plot(curves), folder / 'multigrid')[0]}")


if __name__ == "__main__":
    main()
