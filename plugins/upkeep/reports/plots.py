"""Small plots of what was sampled and of where it goes: one PNG each, a few kilobytes, for a page that can be mailed.

The pictures hold figures and dates only, which every font has; names, which may be Chinese, stand in the page around
them. They are drawn on a canvas in memory, without pyplot, whose figures would stay until the process ends.
"""

from __future__ import annotations

import io
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, date, datetime, time, timedelta
from typing import TYPE_CHECKING, Any

from upkeep.domain.capacity_plan import Line, shown
from upkeep.domain.forecast import HORIZON_DAYS

if TYPE_CHECKING:
    from matplotlib.axes import Axes

WIDTH, HEIGHT, DPI = 4.2, 2.1, 100
COLOURS = 32
"""Of the picture's palette: with so few a plot has a quarter of its bytes, and nobody sees it."""
PAST = timedelta(days=400)
AHEAD_DAYS = 92
"""Without a crossing within the year, so much of the future is drawn."""
INK, PALE, BLUE, RED, ORANGE = "#1c2126", "#8b949e", "#1f6feb", "#c4281c", "#d18b00"


def draw_line(line: Line, *, now: datetime) -> bytes:
    """The samples as dots, the limit dashed in red, shifts dotted in orange, the trend and its interval in blue."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    with _plain_style():
        figure = Figure(figsize=(WIDTH, HEIGHT), dpi=DPI, layout="tight")
        canvas: Any = FigureCanvasAgg(figure)  # matplotlib types half of itself
        axes = figure.add_subplot()
        begin = max(min(at for at, _ in line.points), now - PAST)
        until = now + timedelta(days=_days_ahead(line))
        _draw_samples(axes, line, begin)
        _draw_course(axes, line, now, until)
        for shift in line.forecast.shifts:
            if _noon(shift.on) > begin:
                axes.axvline(_noon(shift.on), color=ORANGE, linestyle=":", linewidth=1.2)  # type: ignore[arg-type]
        axes.axvline(now, color=PALE, linewidth=0.6)  # type: ignore[arg-type]
        if line.forecast.limit is not None:
            axes.axhline(line.forecast.limit, color=RED, linestyle="--", linewidth=1)
        axes.set_xlim(begin - timedelta(days=1), until)  # type: ignore[arg-type]
        _label(axes, line)
        canvas.draw()
        return _small_png(canvas.buffer_rgba())


def _draw_samples(axes: Axes, line: Line, begin: datetime) -> None:
    points = [point for point in line.points if point.at >= begin]
    axes.plot([at for at, _ in points], [value for _, value in points], ".", color=INK, markersize=2.5)  # type: ignore[arg-type]


def _draw_course(axes: Axes, line: Line, now: datetime, until: datetime) -> None:
    found = line.forecast
    if not found.expected:
        return
    days = [now + timedelta(days=day) for day in range((until - now).days + 1)]
    count = len(days)
    axes.fill_between(days, found.low[:count], found.high[:count], color=BLUE, alpha=0.18, linewidth=0)  # type: ignore[arg-type]
    axes.plot(days, found.expected[:count], color=BLUE, linewidth=1.2)  # type: ignore[arg-type]
    if found.days:
        axes.plot([now + timedelta(days=found.days)], [found.expected[found.days]], "o", color=RED, markersize=4)  # type: ignore[arg-type]


def _days_ahead(line: Line) -> int:
    """Far enough to see the limit reached, and not so far that the samples become a dot."""
    reached = line.forecast.days
    return AHEAD_DAYS if reached is None else min(HORIZON_DAYS, max(AHEAD_DAYS, int(reached * 1.2)))


def _label(axes: Axes, line: Line) -> None:
    from matplotlib import dates
    from matplotlib.ticker import FuncFormatter, MaxNLocator

    untyped: Any = dates
    locator = untyped.AutoDateLocator(minticks=3, maxticks=6)
    axes.xaxis.set_major_locator(locator)
    axes.xaxis.set_major_formatter(untyped.ConciseDateFormatter(locator, show_offset=False))
    axes.yaxis.set_major_locator(MaxNLocator(4))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: _tick(line.metric, value)))
    if line.metric.endswith("_pct"):
        axes.set_ylim(0, max(100, axes.get_ylim()[1]))
    elif axes.get_ylim()[0] > 0 or min(value for _, value in line.points) >= 0:
        axes.set_ylim(bottom=0)  # or one per cent of growth looks like a wall
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    axes.tick_params(labelsize=7, length=2)


def _tick(metric: str, value: float) -> str:
    return f"{value:.0f} %" if metric.endswith("_pct") else shown(metric, value)


def _noon(day: date) -> datetime:
    return datetime.combine(day, time(12), UTC)


@contextmanager
def _plain_style() -> Iterator[None]:
    """Whatever the worker's own matplotlibrc says."""
    import matplotlib

    with matplotlib.rc_context():
        matplotlib.rcdefaults()
        matplotlib.rcParams["font.family"] = "DejaVu Sans"  # which it brings along
        matplotlib.rcParams["axes.unicode_minus"] = False
        matplotlib.rcParams["timezone"] = "UTC"
        yield


def _small_png(pixels: Any) -> bytes:
    import numpy as np
    from PIL import Image

    picture = Image.fromarray(np.asarray(pixels)).convert("RGB").quantize(COLOURS, Image.Quantize.FASTOCTREE)
    written = io.BytesIO()
    picture.save(written, "PNG", optimize=True)
    return written.getvalue()
