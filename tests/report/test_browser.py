"""The page of a real training in a real browser: on a phone, in the dark, by keyboard and in print."""

import os
import shutil
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from spacy_mtl.cli.report import write_report
from spacy_mtl.report import plots
from spacy_mtl.report.data import Curve

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

ARGS = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
PHONE, DESK = {"width": 360, "height": 740}, {"width": 1280, "height": 800}

# The contrast of every text with what is behind it; a canvas knows all notations of colours and mixes them.
CONTRAST = """() => {
  const canvas = document.createElement("canvas");
  canvas.width = canvas.height = 1;
  const context = canvas.getContext("2d", {willReadFrequently: true});
  const mix = colours => {
    context.clearRect(0, 0, 1, 1);
    for (const colour of colours) { context.fillStyle = colour; context.fillRect(0, 0, 1, 1); }
    return [...context.getImageData(0, 0, 1, 1).data].slice(0, 3);
  };
  const luminance = rgb => {
    const [r, g, b] = rgb.map(v => v / 255).map(v => v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4);
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const found = [];
  for (const element of document.querySelectorAll("body, body *")) {
    const own = [...element.childNodes].some(n => n.nodeType === 3 && n.data.trim());
    if (!own || !element.checkVisibility()) continue;
    const style = getComputedStyle(element);
    const isPlot = element instanceof SVGElement;
    if (isPlot && style.fill === "rgb(0, 0, 0)") continue;  // in a cell of a heat map, on its own colour
    const behind = [];
    for (let e = element; e; e = e.parentElement) behind.unshift(getComputedStyle(e).backgroundColor);
    const ground = mix(["white", ...behind]);
    const text = mix(["white", ...behind, isPlot ? style.fill : style.color]);
    const [dark, light] = [luminance(ground), luminance(text)].sort((a, b) => a - b);
    found.push([(light + 0.05) / (dark + 0.05), element.tagName, element.textContent.trim().slice(0, 40)]);
  }
  return found;
}"""
OVERFLOW = "() => document.documentElement.scrollWidth - window.innerWidth"
OPEN_ALL = "() => document.querySelectorAll('details').forEach(found => { found.open = true; })"
PLOTS = """() => [...document.querySelectorAll("[role=img]")].map(plot => {
  const box = plot.querySelector("svg").getBoundingClientRect();
  const data = [...plot.querySelectorAll("[id*='-series-0-'], [id$='-cells']")].map(g => g.getBBox());
  const text = [...plot.querySelectorAll("text")].map(t => t.getBoundingClientRect());
  return {
    label: plot.getAttribute("aria-label"), width: box.width, height: box.height,
    data: Math.max(0, ...data.map(b => b.width)),
    clipped: text.filter(b => b.left < box.left - 1 || b.right > box.right + 1).length,
    smallest: Math.min(...text.map(b => b.height)),
  };
})"""
FOCUSED = """() => {
  const found = document.activeElement, box = found.getBoundingClientRect();
  return {
    label: found.getAttribute("aria-label"), kind: found.className, outline: getComputedStyle(found).outlineStyle,
    visible: box.right > 0 && box.bottom > 0 && box.left < innerWidth && box.top < innerHeight,
    id: found.id,
  };
}"""


@pytest.fixture(scope="module")
def browser() -> "Iterator[Browser]":
    executable = shutil.which("chromium")
    lacking = "chromium" if executable is None else "playwright"
    if executable is None or find_spec("playwright") is None:
        reason = f"{lacking} is not installed"
        if os.environ.get("SPACY_MTL_REQUIRE_BROWSER") == "1":
            pytest.fail(reason)
        pytest.skip(reason)
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=executable, args=ARGS)
        yield browser
        browser.close()


@pytest.fixture(scope="module")
def url(trained: Path, tmp_path_factory: pytest.TempPathFactory) -> str:
    path = tmp_path_factory.mktemp("page") / "report.html"
    write_report(trained, path)
    return path.as_uri()


class Visit:
    """A page that is open in the browser, and what the browser asked for and complained about."""

    def __init__(self, browser: "Browser", url: str, size: dict[str, int], scheme: Any) -> None:
        self.context = browser.new_context(viewport=size, color_scheme=scheme)  # type: ignore[arg-type]
        self.page: Page = self.context.new_page()
        self.requests: list[str] = []
        self.complaints: list[str] = []
        self.page.on("request", lambda request: self.requests.append(request.url))
        self.page.on("console", lambda message: self.complaints.append(message.text))
        self.page.on("pageerror", lambda error: self.complaints.append(str(error)))
        self.page.goto(url)

    def __enter__(self) -> "Visit":
        return self

    def __exit__(self, *_: object) -> None:
        self.context.close()


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("size", [PHONE, DESK], ids=["phone", "desk"])
def test_the_page_is_whole_and_can_be_read(
    browser: "Browser", url: str, size: dict[str, int], scheme: str
) -> None:
    with Visit(browser, url, size, scheme) as visit:
        page = visit.page
        assert page.evaluate(OVERFLOW) <= 0
        plots = page.evaluate(PLOTS)
        assert len(plots) == 10
        for plot in plots:
            assert plot["width"] > 200, plot
            assert plot["height"] > 100, plot
            assert plot["data"] > 50, plot
            assert plot["clipped"] == 0, plot
            assert plot["smallest"] >= 9, plot
        page.evaluate(OPEN_ALL)
        assert page.evaluate(OVERFLOW) <= 0
        contrasts = page.evaluate(CONTRAST)
        assert len(contrasts) > 300
        assert [found for found in contrasts if found[0] < 4.5] == []
        ground = page.evaluate("() => getComputedStyle(document.body).backgroundColor")
        assert ground == ("rgb(255, 255, 255)" if scheme == "light" else "rgb(21, 23, 27)")
        assert visit.requests == [url]
        assert visit.complaints == []


def test_the_keyboard_reaches_everything(browser: "Browser", url: str) -> None:
    with Visit(browser, url, PHONE, "light") as visit:
        page = visit.page
        page.keyboard.press("Tab")
        first = page.evaluate(FOCUSED)
        assert first["kind"] == "skip"
        assert first["visible"]
        reached = []
        regions = "[role=region]:not(details:not([open]) *)"
        expected = page.evaluate(
            "s => [...document.querySelectorAll(s)].map(e => e.getAttribute('aria-label'))", regions
        )
        for _ in range(200):
            page.keyboard.press("Tab")
            focused = page.evaluate(FOCUSED)
            if focused["label"] is not None:
                assert focused["outline"] == "solid"
                assert focused["visible"], focused
                reached.append(focused["label"])
            if len(reached) == len(expected):
                break
        assert reached == expected
        assert len(expected) > 10
        page.reload()
        page.keyboard.press("Tab")
        page.keyboard.press("Enter")
        assert page.evaluate(FOCUSED)["id"] == "content"
        wide = page.locator(".scroll:has(th:text-is('Factory'))")
        wide.focus()
        page.keyboard.press("ArrowRight")
        page.wait_for_function("e => e.scrollLeft > 0", arg=wide.element_handle())


def test_the_printed_page_is_light_and_has_all_numbers(browser: "Browser", url: str) -> None:
    with Visit(browser, url, {"width": 720, "height": 1000}, "dark") as visit:
        page = visit.page
        page.emulate_media(media="print")
        ground = page.evaluate("() => getComputedStyle(document.body).backgroundColor")
        assert ground == "rgb(255, 255, 255)"
        hidden = page.evaluate(
            "() => [...document.querySelectorAll('table')].filter("
            "t => !t.checkVisibility({contentVisibilityAuto: true}) || t.getBoundingClientRect().height < 10).length"
        )
        assert hidden == 0
        clipped = page.evaluate(
            "() => [...document.querySelectorAll('.scroll, .drawn')].filter("
            "e => getComputedStyle(e).overflowX !== 'visible' || e.scrollWidth > e.clientWidth + 1)"
            ".map(e => e.getAttribute('aria-label'))"
        )
        assert clipped == []
        assert page.evaluate(OVERFLOW) <= 0
        assert not page.locator("nav").is_visible()
        assert [found for found in page.evaluate(CONTRAST) if found[0] < 4.5] == []
        assert page.pdf(format="A4").startswith(b"%PDF")


def test_many_tasks_with_long_names_fit(browser: "Browser") -> None:
    names = [f"masked_textcat_multilabel_{i}" for i in range(9)]
    curves = [Curve(name, (0.0, 10.0), (0.1, 0.5 + i / 20)) for i, name in enumerate(names)]
    lines = plots.line_plot("lines", curves, y="share", numbers=range(9), percent=True)
    cells = plots.heat_map("pairs", names, np.tril(np.full((9, 9), -0.5)))
    with Visit(browser, "about:blank", PHONE, "light") as visit:
        images = "".join(f'<div role="img">{svg}</div>' for svg in (lines, cells))
        visit.page.set_content(images)
        for plot in visit.page.evaluate(PLOTS):
            assert plot["clipped"] == 0, plot
            assert plot["data"] > 100, plot
