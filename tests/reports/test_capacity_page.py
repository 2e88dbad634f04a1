"""The plots of a forecast: what they show, and that a page of forty of them can still be mailed."""

from __future__ import annotations

import io
import warnings
from collections.abc import Iterable, Mapping

import numpy as np
import pytest
from PIL import Image

from tests.domain.test_capacity_plan import NOW, samples
from upkeep.domain.capacity_plan import CapacityPlan, Levers, Line, plan_capacity
from upkeep.reports.capacity_page import PLOTS, capacity_page
from upkeep.reports.plots import BLUE, ORANGE, RED, draw_line
from upkeep.resources import include_folder
from upkeep.site import load_site

SITE = load_site(include_folder() / "sites" / "kindergarten.yaml")
DAYS = np.arange(300)


def plan(values: Mapping[str, Iterable[float]], limit: float | None = 85) -> CapacityPlan:
    """``values``: the daily samples of ``disk_pct`` by target."""
    series = {("disk_pct", target): samples(each) for target, each in values.items()}
    return plan_capacity(series, {("disk_pct", ""): limit} if limit else {}, Levers(), now=NOW)


def drawn(line: Line) -> Image.Image:
    picture = draw_line(line, now=NOW)
    assert len(picture) < 15_000
    return Image.open(io.BytesIO(picture)).convert("RGB")


def has(picture: Image.Image, colour: str) -> bool:
    """Whether something of about this colour is in the picture; a palette moves each a little."""
    wanted = np.array([int(colour[place : place + 2], 16) for place in (1, 3, 5)])
    return bool((np.abs(np.asarray(picture).astype(int) - wanted).max(axis=2) < 40).any())


def test_a_plot_shows_samples_trend_limit_and_shift() -> None:
    noisy = 30 + 0.2 * DAYS + np.where(DAYS >= 150, -25, 0) + np.random.default_rng(1).normal(0, 1, 300)
    picture = drawn(plan({"w1": noisy}).lines[0])
    assert picture.size == (420, 210)
    assert [has(picture, colour) for colour in (BLUE, RED, ORANGE)] == [True, True, True]


def test_a_plot_shows_no_limit_and_no_shift_where_there_is_none() -> None:
    picture = drawn(plan({"w1": 30 + 0.1 * DAYS}, limit=None).lines[0])
    assert [has(picture, colour) for colour in (BLUE, RED, ORANGE)] == [True, False, False]


@pytest.mark.parametrize("count", [1, 5], ids=["one sample", "too few for a trend"])
def test_a_plot_without_a_trend_shows_the_samples(count: int) -> None:
    picture = drawn(plan({"w1": np.full(count, 50.0)}).lines[0])
    assert not has(picture, BLUE)


def test_names_in_any_script_stand_in_the_page_and_not_in_the_picture() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # matplotlib warns of a glyph that no font has
        page = capacity_page(plan({"考勤<记录>\u202e": 30 + 0.1 * DAYS}), SITE, now=NOW)
    assert "disk_pct 考勤&lt;记录&gt;\\u202e" in page and "\u202e" not in page
    assert SITE.title in page


def test_a_page_of_forty_plots_can_be_mailed() -> None:
    chance = np.random.default_rng(1)
    found = plan({f"w{number}": 30 + 0.1 * DAYS + chance.normal(0, 2, 300) for number in range(PLOTS + 5)})
    page = capacity_page(found, SITE, now=NOW)
    assert page.count("<img ") == page.count('alt="disk_pct w') == PLOTS
    assert len(page.encode()) < 1_000_000


def test_the_style_of_the_worker_does_not_reach_the_plots(monkeypatch: pytest.MonkeyPatch) -> None:
    import matplotlib

    line = plan({"w1": 30 + 0.1 * DAYS}).lines[0]
    plain = draw_line(line, now=NOW)
    monkeypatch.setitem(matplotlib.rcParams, "axes.facecolor", "black")
    assert draw_line(line, now=NOW) == plain
    assert matplotlib.rcParams["axes.facecolor"] == "black"
