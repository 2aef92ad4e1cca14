"""MLflow's pages in a headless Chromium, for tests: what a user sees and clicks, with deadlines."""

import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from selenium.common.exceptions import StaleElementReferenceException
from selenium.webdriver import Chrome, ChromeOptions
from selenium.webdriver.chrome.service import Service
from selenium.webdriver.common.by import By
from selenium.webdriver.remote.webelement import WebElement
from selenium.webdriver.support.wait import WebDriverWait

PROGRAMS = [shutil.which("chromium"), shutil.which("chromedriver")]
LAPTOP = {"width": 1440, "height": 900, "deviceScaleFactor": 1, "mobile": False}
SECONDS = 120.0
"""How long to wait for a page on a busy machine."""

FLAGS = [
    "--headless=new",
    "--no-sandbox",  # root, as which CI runs, has none
    "--disable-dev-shm-usage",
    "--disable-gpu",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1",
]


@contextmanager
def chromium(profile: Path) -> Iterator[Chrome]:
    """A browser of its own, with the screen of a laptop."""
    program, driver = PROGRAMS
    assert program
    options = ChromeOptions()
    options.binary_location = program
    for flag in (*FLAGS, f"--user-data-dir={profile}"):
        options.add_argument(flag)
    browser = Chrome(options, Service(driver))
    try:
        browser.set_script_timeout(SECONDS)
        browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", LAPTOP)
        yield browser
    finally:
        browser.quit()


class Page:
    """What is open in a browser."""

    def __init__(self, browser: Chrome) -> None:
        self.browser = browser

    def wait(self, what: Callable[[], Any]) -> Any:
        """What a call returns, as soon as that is something."""
        wait = WebDriverWait(self.browser, SECONDS, 0.1, [StaleElementReferenceException])
        return wait.until(lambda _: what(), what.__doc__ or "")

    def find(self, path: str) -> WebElement:
        """The first element of an XPath that can be seen."""

        def seen() -> WebElement | None:
            found = self.browser.find_elements(By.XPATH, path)
            return next((element for element in found if element.is_displayed()), None)

        seen.__doc__ = f"nothing to be seen at {path}"
        found: WebElement = self.wait(seen)
        return found

    def click(self, path: str) -> None:
        """Click an element, found again where the page was drawn anew in between."""

        def clicked() -> bool:
            self.find(path).click()
            return True

        self.wait(clicked)

    def save(self, file: Path) -> None:
        """A picture of the page."""
        self.browser.save_screenshot(str(file))


class Runs(Page):
    """The table of runs, opened at the address that ``headsweep ui`` prints."""

    def __init__(self, browser: Chrome, address: str) -> None:
        super().__init__(browser)
        browser.get("about:blank")  # else the browser only scrolls to what follows the #
        browser.get(address)
        self.find("//*[@role='gridcell']")
        for panel in ("assistant.chat_panel.close", "experiment_page.shared_view.dismiss"):
            for button in browser.find_elements(
                By.CSS_SELECTOR, f"[data-component-id='mlflow.{panel}']"
            ):
                button.click()

    def headers(self) -> list[str]:
        """Titles of the columns on the screen, from left to right."""
        found = self.browser.find_elements(By.CSS_SELECTOR, "[data-testid^='sort-header-']")
        seen = [e for e in found if e.is_displayed() and e.rect["x"] + e.rect["width"] <= 1440]
        return [e.text for e in sorted(seen, key=lambda e: e.rect["x"])]

    def names(self) -> list[tuple[int, str]]:
        """Names of the rows from top to bottom, each with how far it is moved to the right."""
        links = self.browser.find_elements(By.CSS_SELECTOR, "[col-id='attributes.`Run Name`'] a")
        found = sorted((e.rect["y"], e.rect["x"], e.text) for e in links)
        steps = sorted({x for _, x, _ in found})
        return [(steps.index(x), text) for _, x, text in found]

    def row(self, name: str) -> str:
        """XPath of what is left of a run's row: its box to be ticked, its name."""
        return f"//*[@role='row'][.//*[@col-id='attributes.`Run Name`']//a[.='{name}']]"

    def fold(self, name: str) -> None:
        """Show what is nested in a run, or hide it again."""
        before = self.names()
        self.click(f"{self.row(name)}//*[@col-id='attributes.`Run Name`']//button")
        self.wait(lambda: self.names() != before)

    def cells(self, name: str) -> dict[str, str]:
        """What stands to the right of a run's name, by column."""
        index = self.find(self.row(name)).get_attribute("row-index")
        path = f"//*[@role='row'][@row-index='{index}']//*[@role='gridcell'][@col-id]"
        cells = self.browser.find_elements(By.XPATH, path)
        return {str(cell.get_attribute("col-id")): cell.text for cell in cells}

    def compare(self, names: list[str]) -> None:
        for name in names:
            self.click(f"{self.row(name)}//*[contains(@class, 'ag-checkbox-input-wrapper')]")
        self.click("//button[normalize-space()='Compare']")


class Comparison(Page):
    """The page that compares runs."""

    def choose(self, label: str, *values: str) -> None:
        """Choose these values of a list, and no others."""
        select = f"//div[.='{label}:']/following-sibling::div[contains(@class, 'select')][1]"
        self.click(select)
        items = f"{select}//*[contains(@class, 'selection-item-content')]"
        chosen = {item.text for item in self.browser.find_elements(By.XPATH, items)}
        for value in sorted(chosen.symmetric_difference(values)):
            self.browser.find_element(By.XPATH, f"{select}//input").send_keys(value)
            self.click(f"//*[contains(@class, 'select-item-option-content')][.='{value}']")
        self.click("//h2")  # closes the list

    def axes(self) -> dict[str, list[float]]:
        """Values of each axis of the plot, in the order of the axes."""
        script = """
            const plot = document.querySelector('.js-plotly-plot');
            return plot ? plot.data[0].dimensions.map(d => [d.label, Array.from(d.values)]) : [];
        """
        return dict(self.browser.execute_script(script))

    def titles(self) -> list[str]:
        """Titles of the axes as drawn, from left to right."""
        found = self.browser.find_elements(By.CSS_SELECTOR, ".parcoords .axis-title")
        return [e.text for e in sorted(found, key=lambda e: e.rect["x"])]


class Artifacts(Page):
    """The files of a run, opened by its name in the table of runs."""

    def __init__(self, runs: Runs, name: str) -> None:
        super().__init__(runs.browser)
        self.click(f"//*[@col-id='attributes.`Run Name`']//a[.='{name}']")
        self.click("//*[@role='tab'][normalize-space()='Artifacts']")

    def open(self, *path: str) -> WebElement:
        """Click from folder to folder to a file; the frame in which the viewer shows it."""
        for name in path:
            self.click(f"//*[contains(@class, 'artifact-view')]//*[text()='{name}']")
        return self.find("//iframe")
