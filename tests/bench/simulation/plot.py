"""Simulations as pictures."""

from pathlib import Path

from matplotlib.figure import Figure as Picture

from tests.bench.simulation.scenarios import Figure

__all__ = ["plot"]


def plot(figure: Figure, folder: Path) -> Path:
    """Draw the curves into ``folder``, and return the file."""
    picture = Picture(figsize=(8, 4.5), layout="constrained")
    axes = picture.subplots()
    for curve in figure.curves:
        axes.plot(range(len(curve.values)), curve.values, label=curve.name.replace("_", " "))
    axes.set_title(figure.title)
    axes.set_xlabel("seconds")
    axes.set_ylabel(figure.unit)
    axes.set_ylim(bottom=0)
    axes.grid(alpha=0.3)
    axes.legend()
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{figure.name}.svg"
    picture.savefig(path)
    return path
