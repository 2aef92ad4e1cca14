"""The documentation builds without a warning, is whole, and loads nothing from elsewhere."""

import re
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path
from xml.etree import ElementTree

import pytest
from selenium.common.exceptions import ElementNotInteractableException
from selenium.webdriver.common.by import By
from selenium.webdriver.support.wait import WebDriverWait

from headsweep.config import config_root
from helpers.browser import PROGRAMS, SECONDS, chromium
from helpers.documents import hook

pytestmark = pytest.mark.slow

ROOT = config_root()
LOADS = {"src", "srcset", "data", "poster"}
"""Attributes whose address a browser loads by itself; of ``link`` also ``href``."""


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The built site; building is strict, so a broken link or anchor fails here."""
    folder = tmp_path_factory.mktemp("site")
    mkdocs = [sys.executable, "-m", "mkdocs", "build", "--quiet", "--site-dir", str(folder)]
    done = subprocess.run(mkdocs, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return folder


class Loaded(HTMLParser):
    """Collects all addresses that a page loads."""

    def __init__(self) -> None:
        super().__init__()
        self.addresses: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        relation = dict(attrs).get("rel")
        for name, value in attrs:
            if name in LOADS or (tag == "link" and name == "href" and relation != "canonical"):
                self.addresses.append(value or "")


def test_pages_load_nothing_from_elsewhere(site: Path) -> None:
    pages = sorted(site.rglob("*.html"))
    assert len(pages) > 20
    for page in pages:
        parser = Loaded()
        parser.feed(page.read_text())
        assert [a for a in parser.addresses if re.match(r"(https?:)?//", a)] == [], page
    for sheet in site.rglob("*.css"):
        assert not re.search(r"url\(['\"]?(https?:)?//|@import", sheet.read_text()), sheet


@pytest.mark.skipif(None in PROGRAMS, reason="Chromium is missing: apt-get install chromium")
def test_search_works_on_pages_opened_from_the_disk(site: Path, tmp_path: Path) -> None:
    with chromium(tmp_path) as browser:
        browser.get((site / "tutorial.html").as_uri())
        field = browser.find_element(By.CSS_SELECTOR, "input.md-search__input")
        wait = WebDriverWait(browser, SECONDS, 0.2, [ElementNotInteractableException])
        wait.until(lambda _: (field.click(), field.send_keys("margin")))
        found = wait.until(
            lambda b: b.find_elements(By.CSS_SELECTOR, "a.md-search-result__link[href*='#']")
        )
        assert any("concepts/verdict.html" in link.get_attribute("href") for link in found)
        assert browser.get_log("browser") == []  # an address that does not resolve would be there


def test_the_reference_has_every_verb_key_and_sweep(site: Path) -> None:
    told = {
        name: (site / "reference" / f"{name}.html").read_text()
        for name in ("commands", "keys", "questions", "metrics")
    }
    assert "headsweep data convert-acts" in told["commands"]
    assert "--tracking-uri" in told["commands"]
    assert re.search(r"head\.dropout.*?0\.1.*?in \[0, 1\)", told["keys"], re.S)
    assert "one of plain, log_pt, inverse_pt, q_over_pt" in told["keys"]
    for path in (ROOT / "sweeps").glob("*.yaml"):
        assert f'id="{path.stem}"' in told["questions"]
    assert re.search(r"charge_misid.*?lower.*?0\.002", told["metrics"], re.S)


def test_pictures_of_the_architecture_show_the_packages() -> None:
    drawn = hook("architecture").pictures()
    folders = {path.parent.name for path in (ROOT / "src/headsweep").glob("*/__init__.py")}
    words = {
        text.text
        for text in ElementTree.fromstring(drawn["packages"]).iter(
            "{http://www.w3.org/2000/svg}text"
        )
    }
    assert folders <= words
    ElementTree.fromstring(drawn["sweep"])


def test_the_readme_is_short() -> None:
    assert len((ROOT / "README.md").read_text().splitlines()) <= 120


def test_paths_of_the_contributors_pages_exist() -> None:
    text = (ROOT / "CONTRIBUTING.md").read_text() + (ROOT / "docs/architecture.md").read_text()
    paths = set(re.findall(r"`((?:src|tests|docs|conf|sweeps)/[\w./]*|\w+/[\w/]+\.py)`", text))
    assert len(paths) > 30
    places = (ROOT, ROOT / "src/headsweep")
    missing = [p for p in paths if not any((place / p).exists() for place in places)]
    assert sorted(missing) == ["PACKAGE/MODULE.py", "tests/PACKAGE/test_MODULE.py"]
