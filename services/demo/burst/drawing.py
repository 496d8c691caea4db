"""A run as three curves: in the terminal, and as an SVG."""

from collections.abc import Sequence
from html import escape

from services.demo.burst.timeline import Phases, Timeline

__all__ = ["in_words", "svg"]

_BLOCKS = " ▁▂▃▄▅▆▇█"
_WIDTH = 72
_SIZE = (760, 170)
_MARGIN = 48


def in_words(timeline: Timeline, end: float) -> list[str]:
    """Return each curve as lines of text."""
    return [line for title, points in _curves(timeline) for line in (title, _blocks(points, end), "")]


def svg(timeline: Timeline, phases: Phases, end: float) -> str:
    """Return a picture of the curves, one below the other; the burst is shaded."""
    width, height = _SIZE
    curves = _curves(timeline)
    size = f'width="{width}" height="{height * len(curves)}"'
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" {size} font-family="sans-serif" font-size="12">',
        f'<rect {size} fill="white"/>',
    ]
    for number, (title, points) in enumerate(curves):
        parts.append(f'<g transform="translate(0,{height * number})">{_panel(title, points, phases, end)}</g>')
    return "\n".join([*parts, "</svg>"]) + "\n"


def _curves(timeline: Timeline) -> list[tuple[str, Sequence[tuple[float, float]]]]:
    return [
        _titled("events that wait", timeline.depth),
        _titled("events handled a second", timeline.rate),
        _titled("senders' latency, ms", timeline.latencies),
    ]


def _titled(title: str, points: Sequence[tuple[float, float]]) -> tuple[str, Sequence[tuple[float, float]]]:
    return f"{title} (highest {max((value for _, value in points), default=0):.0f})", points


def _blocks(points: Sequence[tuple[float, float]], end: float) -> str:
    columns = [0.0] * _WIDTH
    for at, value in points:
        column = min(int(at / end * _WIDTH), _WIDTH - 1)
        columns[column] = max(columns[column], value)
    top = max(columns) or 1.0
    return "".join(_BLOCKS[round(value / top * (len(_BLOCKS) - 1))] for value in columns)


def _panel(title: str, points: Sequence[tuple[float, float]], phases: Phases, end: float) -> str:
    width, height = _SIZE
    top = max((value for _, value in points), default=1.0) or 1.0

    def x(at: float) -> float:
        return _MARGIN + at / end * (width - 2 * _MARGIN)

    def y(value: float) -> float:
        return height - 30 - value / top * (height - 60)

    line = " ".join(f"{x(at):.1f},{y(value):.1f}" for at, value in points)
    burst = f'x="{x(phases.burst):.1f}" y="{y(top):.1f}" width="{x(phases.calm) - x(phases.burst):.1f}"'
    return (
        f'<rect {burst} height="{y(0) - y(top):.1f}" fill="#fde2c4"/>'
        f'<line x1="{x(0)}" y1="{y(0)}" x2="{x(end)}" y2="{y(0)}" stroke="#888"/>'
        f'<polyline points="{line}" fill="none" stroke="#1f5fa8" stroke-width="1.2"/>'
        f'<text x="{_MARGIN}" y="20">{escape(title)}</text>'
        f'<text x="{x(end) - 30:.0f}" y="{y(0) + 16:.0f}">{end:.0f} s</text>'
    )
