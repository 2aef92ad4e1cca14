"""MLflow's pages over a real sweep of the four presets, as a user sees and clicks them."""

import io
from collections.abc import Iterator
from pathlib import Path

import matplotlib.image
import numpy as np
import pytest
from selenium.webdriver import Chrome
from selenium.webdriver.common.by import By

from headsweep.store import runs as store_runs
from helpers.browser import PROGRAMS, Artifacts, Comparison, Runs, chromium
from helpers.command import run_here
from helpers.serving import ui

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        None in PROGRAMS, reason="Chromium is missing: apt-get install chromium chromium-driver"
    ),
]

METRIC = "val_qoverpt_r68"
HEADS = {
    "conservative": ("144", "3", "0.1"),
    "more_capacity": ("256", "4", "0.15"),
    "simpler": ("96", "2", "0.05"),
    "direct_projection": ("0", "1", "0"),
}
"""Hidden dimension, layers and dropout of each preset."""

SMALL = """
# @package _global_
defaults:
  - override /data: tiny
  - override /backbone: truth
  - override /rates: tuned
  - _self_
data: {source: {events: 60}}
seeds: 2
optim: {steps: 4, batch_size: 16}
hydra: {sweeper: {params: {head: "conservative,more_capacity,simpler,direct_projection"}}}
"""


@pytest.fixture(scope="module")
def root(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the sweep ``presets`` is: a small one, or a real one for pictures."""
    given: Path | None = request.config.getoption("--runs")
    if given:
        assert (given / "sweeps" / "presets").is_dir(), (
            "first train: headsweep train sweeps=presets"
        )
        return given.resolve()
    folder = tmp_path_factory.mktemp("browser")
    (folder / "conf" / "sweeps").mkdir(parents=True)
    (folder / "conf" / "sweeps" / "small.yaml").write_text(SMALL.lstrip())
    run_here(folder, "train", "--config-dir", "conf", "sweeps=small", "name=presets", "workers=1")
    return folder / "runs"


@pytest.fixture(scope="module")
def values(root: Path) -> dict[str, dict[int, float]]:
    """r68 of q/pT of each preset and seed, from the run folders."""
    found = {}
    for job in store_runs.find_jobs(root / "sweeps" / "presets"):
        about = store_runs.read_job(job)
        assert about is not None
        results = store_runs.read_results(job).items()
        found[about["labels"]["head"]] = {seed: r["metrics"][METRIC] for seed, r in results}
    assert set(found) == set(HEADS)
    return found


@pytest.fixture(scope="module")
def address(root: Path) -> Iterator[str]:
    with ui(str(root), root) as (_, line):
        yield line.split()[2]


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Chrome]:
    with chromium(tmp_path_factory.mktemp("profile")) as found:
        yield found


@pytest.fixture
def runs(browser: Chrome, address: str) -> Runs:
    page = Runs(browser, address)
    page.fold("presets")
    return page


@pytest.fixture
def pictures(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """Folder for pictures, of which only those are kept that were asked for."""
    folder: Path = request.config.getoption("--pictures") or tmp_path
    return folder


def save(page: Runs | Comparison, file: Path) -> None:
    page.save(file)
    assert file.stat().st_size < 300_000  # it is kept in the repository


def test_sweep_jobs_and_seeds_are_nested_with_their_columns(
    runs: Runs, values: dict[str, dict[int, float]], pictures: Path
) -> None:
    columns = ["Run Name", "Created", f"{METRIC}_mean", f"{METRIC}_std", METRIC, "verdict"]
    columns += ["hidden_dim", "num_layers", "dropout"]
    assert runs.headers()[: len(columns)] == columns
    names = runs.names()
    assert names[0] == (0, "presets")
    means = {head: float(np.mean([*own.values()])) for head, own in values.items()}
    figure = runs.cells("presets")[f"metrics.`{METRIC}_mean`"]
    assert float(figure) == pytest.approx(min(means.values()))
    assert sorted(names[1:5]) == sorted((1, head) for head in HEADS)
    params = [f"params.`{name}`" for name in ("hidden_dim", "num_layers", "dropout")]
    for head, expected in HEADS.items():
        cells, numbers = runs.cells(head), list(values[head].values())
        assert tuple(cells[name] for name in params) == expected
        assert float(cells[f"metrics.`{METRIC}_mean`"]) == pytest.approx(np.mean(numbers))
        assert float(cells[f"metrics.`{METRIC}_std`"]) == pytest.approx(np.std(numbers, ddof=1))
        assert cells[f"metrics.`{METRIC}`"] == "-"
    runs.fold("simpler")
    at = runs.names().index((1, "simpler"))
    seeds = {f"simpler seed {seed}": value for seed, value in values["simpler"].items()}
    below = runs.names()[at + 1 : at + 1 + len(seeds)]
    assert sorted(below) == sorted((2, name) for name in seeds)
    for name, value in seeds.items():
        assert float(runs.cells(name)[f"metrics.`{METRIC}`"]) == pytest.approx(value)
    save(runs, pictures / "mlflow_experiment.png")
    runs.fold("simpler")
    assert runs.names() == names


def coloured(picture: bytes) -> int:
    """Number of pixels of lines between the axes; texts are grey, the scale is on the right."""
    pixels = matplotlib.image.imread(io.BytesIO(picture))[..., :3]
    between = pixels[:, : round(0.85 * pixels.shape[1])]
    return int((np.ptp(between, axis=-1) > 0.2).sum())


def test_the_four_presets_are_compared_in_parallel_coordinates(
    runs: Runs, values: dict[str, dict[int, float]], pictures: Path
) -> None:
    runs.compare(list(HEADS))
    page = Comparison(runs.browser)
    page.find("//h2[contains(., 'Comparing 4 Runs from 1 Experiment')]")
    page.choose("Parameters", "hidden_dim", "num_layers", "dropout")
    # It opens with the main metric.
    assert [axis for axis in page.axes() if axis.startswith("val_")] == [f"{METRIC}_mean"]
    axes = ["dropout", "hidden_dim", "num_layers", f"{METRIC}_mean"]
    page.wait(lambda: page.titles() == axes)
    shown = page.axes()
    assert list(shown) == axes
    expected = [
        (float(dropout), float(width), float(layers), float(np.mean(list(values[head].values()))))
        for head, (width, layers, dropout) in HEADS.items()
    ]
    rows = zip(*shown.values(), strict=True)
    assert np.array(sorted(rows)) == pytest.approx(np.array(sorted(expected)))
    plot = page.browser.find_element(By.CSS_SELECTOR, ".js-plotly-plot")
    page.wait(lambda: coloured(plot.screenshot_as_png) > 500)
    save(page, pictures / "mlflow_compare.png")


def test_the_report_opens_in_the_artifacts_of_the_sweeps_run(root: Path, runs: Runs) -> None:
    if not (root / "sweeps" / "presets" / "report").is_dir():
        run_here(root.parent, "report", "presets", "--root", str(root))
    page = Artifacts(runs, "presets")
    page.browser.switch_to.frame(page.open("report", "report.html"))
    try:
        assert page.find("//h1").text.startswith("presets: ")
        # The viewer's frame lets scripts run: pictures are drawn, sections open, the legend works.
        page.click("//summary[contains(., 'Errors in detail')]")
        seen = "body > .figures .plot, details[open] .plot"
        plots = len(page.browser.find_elements(By.CSS_SELECTOR, seen))
        assert plots > 5
        drawn = ".plot.js-plotly-plot .main-svg"
        page.wait(lambda: len(page.browser.find_elements(By.CSS_SELECTOR, drawn)) >= plots)
        page.click("//div[@class='legend']/button[1]")
        assert (
            page.find("//div[@class='legend']/button[1]").get_attribute("aria-pressed") == "false"
        )
    finally:
        page.browser.switch_to.default_content()
