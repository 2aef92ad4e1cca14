"""The page of a report: complete, alone, the same again; drawn and printed by a real browser."""

import base64
import json
import re
from collections.abc import Iterator, Sequence
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from plotly.graph_objects import Figure
from selenium.webdriver import Chrome

from headsweep.report.render import page as render_page
from headsweep.report.render import plotly_renderer, verdict_tables, write
from headsweep.report.render.recommendation import recommendation
from headsweep.store import runs, specification
from headsweep.store.outcome import Outcome
from helpers.browser import PROGRAMS, Page, chromium
from helpers.toy_runs import toy_score, write_cache, write_toy_job

pytestmark = pytest.mark.slow

ODD = 'lr<b>=1e-3 & "x"'
"""A label that is not to be taken for HTML."""

OPEN = "section => section.open = true"
"""What opens a section of the page."""

NO_UNIT = ("true |eta|", "true eta", "configuration")
"""Beginnings of titles of axes whose values have no unit."""


class Parts(HTMLParser):
    """Attributes of a page's elements, and the text of each kind of element."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.texts: list[tuple[str, str]] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.texts.append((self.tags[-1][0] if self.tags else "", data))

    def of(self, tag: str) -> list[str]:
        return [text for name, text in self.texts if name == tag and text.strip()]


def write_sweep(root: Path, name: str, heads: Sequence[str]) -> Path:
    sweep = root / "sweeps" / name
    for i, head in enumerate(heads):
        widths = {s: 0.05 + 0.03 * i + 0.002 * s for s in range(3)}
        job = sweep / "jobs" / str(i)
        write_toy_job(job, widths, labels={"head": head}, overrides=[f"head={head}"])
    return sweep


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("root")
    write_cache(root, "cache")
    sweep = write_sweep(root, "presets", ["conservative", "simpler", ODD])
    specification.claim_sweep(sweep, {"seeds": 5})
    runs.write_command(sweep, "headsweep train sweeps=presets")
    return root


@pytest.fixture(scope="module")
def built(root: Path) -> write.Report:
    return write.build_report(root / "sweeps" / "presets", root, toy_score)


@pytest.fixture(scope="module")
def page(built: write.Report) -> str:
    return render_page.page(built)


def drawn(page: str) -> dict[str, Any]:
    """The figures of a page, by name."""
    (text,) = re.findall(r'<script type="application/json" id="figures">(.*?)</script>', page)
    found: dict[str, Any] = json.loads(text, parse_constant=pytest.fail)
    return found


def axes(figure: dict[str, Any]) -> Iterator[dict[str, Any]]:
    yield from (v for k, v in figure["layout"].items() if k.startswith(("xaxis", "yaxis")))


def test_the_page_loads_nothing(page: str) -> None:
    for tag, attributes in Parts(page).tags:
        assert tag not in ("link", "iframe", "object", "embed", "base")
        assert not {"src", "href", "srcset", "action"} & attributes.keys()
    (style,) = re.findall(r"<style>(.*?)</style>", page, re.DOTALL)
    assert "@import" not in style
    assert "url(" not in style
    assert "default-src 'none'" in page
    assert page.count("plotly.js v") == 1


def test_the_page_says_question_answer_and_verdict(built: write.Report, page: str) -> None:
    parts = Parts(page)
    assert parts.of("h1")[0] == (
        "presets: which of the document's four presets measures q/pT best?"
    )
    assert parts.of("p")[:2] == [recommendation(built), verdict_tables.answer(built)]
    table = verdict_tables.verdict_table(built)
    assert "features bending, target plain, steps 3,200" in table.title
    assert table.title in parts.of("h3")
    cells = parts.of("td")
    again = [table.columns.index(name) for name in ("against", "metric")]  # the answer says them
    expected = [c for row in table.rows for at, c in enumerate(row) if at not in again]
    assert cells[: len(expected)] == expected
    assert "alignment" in parts.of("li")
    assert "headsweep train sweeps=presets" in "".join(parts.of("pre"))


def test_labels_are_no_html(page: str) -> None:
    assert "<b>=" not in page
    parts = Parts(page)
    assert ODD in [attributes.get("data-label") for _, attributes in parts.tags]
    assert ODD in parts.of("td")
    texts = json.dumps(drawn(page), ensure_ascii=False)
    assert "lr&lt;b&gt;=1e-3 &amp; " in texts  # plotly.js takes names for HTML, too


def test_every_axis_has_a_title_with_its_unit(page: str) -> None:
    found = drawn(page)
    assert set(found) == {
        "resolution",
        "scale_bias",
        "charge_misid",
        "sagitta_eta",
        "sagitta_phi",
        "tails",
        "residuals",
        "resolution_map",
        "eta_abs68_abs_eta",
        "eta_abs68_pt",
        "phi_abs68_pt",
        "qoverpt_r95_r68_pt",
        "effect_qoverpt_r68",
        "learning_curves",
        "stability",
        "cost_parameters",
        "cost_flops",
        "cost_seconds",
    }
    for figure in found.values():
        Figure(figure)  # knows every key
        Figure({"layout": figure["layout"].get("meta", {})})
        assert figure["data"]
        for axis in axes(figure):
            title = axis["title"]["text"]
            named = re.search(r"( |<br>)\[.+\]", title) or title.startswith(NO_UNIT)
            assert named or not title, title  # in a grid only the outer axes are named
        assert any(axis["title"]["text"] for axis in axes(figure))


def test_figures_hold_the_figures_of_the_report(built: write.Report, page: str) -> None:
    traces = [t for t in drawn(page)["charge_misid"]["data"] if t.get("legendgroup") == "simpler"]
    for trace, axis in zip(traces, ("pt", "reference_pt"), strict=True):
        values = built.get("simpler", "charge_misid", axis)
        assert trace["y"] == pytest.approx([100 * v.estimate.mean for v in values], rel=1e-5)
        assert len(trace["x"]) == 7
    assert built.get("simpler", "qoverpt_r68", "reference_pt")[0].bin == "< 5"
    total = sum(v.tracks for v in built.get("simpler", "qoverpt_r68", "reference_pt"))
    assert total == built.get("simpler", "qoverpt_r68", "reference_tracks")[0].tracks
    for charge in ("plus", "minus"):
        assert len(built.get("simpler", f"sagitta_bias_{charge}", "phi")) == 16
        sides = built.get("simpler", f"sagitta_bias_{charge}", "eta")
        assert [v.bin for v in sides][:: len(sides) - 1] == ["< -2.7", "≥ 2.7"]
    tails = [t for t in drawn(page)["tails"]["data"] if t["legendgroup"] == "analytic estimate"]
    shown = (
        ("efficiency", "abs_eta"),
        *[("outlier_fraction", f"{a}abs_eta") for a in ("", "reference_")],
    )
    for (name, axis), trace in zip(shown, tails, strict=True):
        level = [100 * v.estimate.mean for v in built.get("analytic estimate", name, axis)]
        assert trace["x"][:4] == [0.0, 0.9, 0.9, 1.4]
        assert trace["y"][:8:2] == trace["y"][1:8:2] == pytest.approx(level[:4])
        assert trace["y"][8:] == [None, None]  # nothing beyond |eta| 2.7
    members = next(t for t in drawn(page)["stability"]["data"] if t["legendgroup"] == "simpler")
    assert members["x"] == pytest.approx([0.080, 0.082, 0.084], rel=0.02)


def test_the_same_report_gives_the_same_page(built: write.Report, root: Path, page: str) -> None:
    assert render_page.page(built) == page
    again = write.build_report(root / "sweeps" / "presets", root, toy_score)
    assert render_page.page(again) == page


def test_written_with_the_other_files(tmp_path: Path, built: write.Report, page: str) -> None:
    write.write_report(built, tmp_path / "report")
    assert (tmp_path / "report" / "report.html").read_text(encoding="utf-8") == page


def test_a_single_run_has_a_page(tmp_path: Path) -> None:
    write_cache(tmp_path, "cache")
    run = tmp_path / "runs" / "abc"
    write_toy_job(run, {0: 0.1}, overrides=["head=simpler", "optim.lr=0.1"])
    page = render_page.page(write.build_report(run, tmp_path, toy_score))
    command = "headsweep train head=simpler optim.lr=0.1"
    assert f"the runs come from: {command}" in Parts(page).of("h1")[0]
    assert "nothing to compare it with" in page
    assert "effect_qoverpt_r68" not in drawn(page)


@pytest.mark.parametrize("objectives", [["val_qoverpt_r68"], ["val_qoverpt_r68", "params_total"]])
def test_a_search_has_a_page(tmp_path: Path, objectives: list[str]) -> None:
    write_cache(tmp_path, "cache")
    sweep = write_sweep(tmp_path, "s", [f"head{i}" for i in range(8)])
    search = {"objective": objectives, "direction": ["minimize"] * len(objectives)}
    specification.claim_sweep(sweep, {"search": {}, "n_trials": 8, **search})
    for i in range(8):
        state = "pruned" if i == 7 else "complete"
        values = [0.1 + 0.01 * i, 100.0 - i][: len(objectives)]
        Outcome(state, values=values, spread=[0.01]).write(sweep / "jobs" / str(i))
    page = render_page.page(write.build_report(sweep, tmp_path, toy_score))
    figure = drawn(page)["search"]
    (complete,) = [t for t in figure["data"] if t["legendgroup"] == "complete"]
    assert len(complete["x"]) == 7
    assert all("[" in axis["title"]["text"] for axis in axes(figure))
    assert "6 of 7: the first and the lowest r68" in page
    assert "chosen by the figures" in page


needs_chromium = pytest.mark.skipif(
    None in PROGRAMS, reason="Chromium is missing: apt-get install chromium chromium-driver"
)


@pytest.fixture
def opened(page: str, tmp_path: Path) -> Iterator[Chrome]:
    file = tmp_path / "report.html"
    file.write_text(page, encoding="utf-8")
    with chromium(tmp_path / "profile") as browser:
        browser.get(file.as_uri())
        browser.execute_script(f"document.querySelectorAll('details').forEach({OPEN})")
        count = len(drawn(page))
        shown = "return document.querySelectorAll('.plot svg.main-svg .xy').length"
        Page(browser).wait(lambda: browser.execute_script(shown) >= count)
        yield browser


@needs_chromium
def test_the_page_on_a_laptop(opened: Chrome, page: str) -> None:
    wide = "return [document.documentElement.scrollWidth, innerWidth]"
    content, window = opened.execute_script(wide)
    assert content <= window == 1440
    for name in drawn(page):
        box = f"return document.querySelector('#{name} svg.main-svg').getBoundingClientRect()"
        wide = len(drawn(page)[name]["layout"].get("annotations", [])) > 0
        expected = plotly_renderer.WIDE if wide else plotly_renderer.WIDTH
        assert opened.execute_script(box)["width"] == expected
    assert opened.get_log("browser") == []  # nothing went wrong, nothing was asked of the network
    hidden = "return document.getElementById('resolution').data.map(t => t.visible)"
    Page(opened).click("//button[.='● conservative']")
    assert opened.execute_script(hidden).count(False) == 1
    Page(opened).click("//button[.='● conservative']")
    assert opened.execute_script(hidden).count(False) == 0


@needs_chromium
@pytest.mark.parametrize("width", [1000, 390])
def test_the_page_is_whole_on_smaller_screens(page: str, tmp_path: Path, width: int) -> None:
    """Nothing is wider than its place: no table or picture has to be moved to the side."""
    file = tmp_path / "report.html"
    file.write_text(page, encoding="utf-8")
    with chromium(tmp_path / "profile") as browser:
        screen = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": width < 500}
        browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", screen)
        browser.get(file.as_uri())
        first = browser.execute_script("return document.querySelectorAll('.js-plotly-plot').length")
        assert first == 4  # the others are drawn when their section opens
        browser.execute_script(f"document.querySelectorAll('details').forEach({OPEN})")
        all_drawn = "return document.querySelectorAll('.js-plotly-plot').length"
        Page(browser).wait(lambda: browser.execute_script(all_drawn) == len(drawn(page)))
        beyond = (
            "return [...document.querySelectorAll('body, .table, .plot, pre, dl')]"
            ".filter(e => e.scrollWidth > e.clientWidth).map(e => e.textContent.slice(0, 60))"
        )
        assert browser.execute_script(beyond) == []
        assert browser.get_log("browser") == []


@needs_chromium
def test_the_page_on_paper(opened: Chrome) -> None:
    printed = opened.execute_cdp_cmd("Page.printToPDF", {"preferCSSPageSize": True})
    content = base64.b64decode(printed["data"])
    assert content.startswith(b"%PDF")
    assert len(re.findall(rb"/Type\s*/Page\b", content)) > 1
    paper = {"width": 718, "height": 1047, "deviceScaleFactor": 1, "mobile": False}
    opened.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", paper)  # A4 without its margins
    opened.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": "print"})
    right = "return Math.max(...[...document.querySelectorAll('figure, figure svg')]"
    assert opened.execute_script(f"{right}.map(e => e.getBoundingClientRect().right))") <= 718
    split = "return getComputedStyle(document.querySelector('figure')).breakInside"
    assert opened.execute_script(split) == "avoid"
