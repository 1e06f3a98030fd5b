"""A headless Chromium, as Debian packages it, and what its console said.

with Browser() as browser:
    browser.open("http://127.0.0.1:8080/")
    browser.wait_until(lambda: browser.text("#state") == "Live")
    browser.screenshot("wall")            # under build/screenshots, or $SCREENSHOTS
"""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, Self

from selenium import webdriver
from selenium.common.exceptions import StaleElementReferenceException, TimeoutException
from selenium.webdriver.chrome.service import Service
from selenium.webdriver.common.by import By
from selenium.webdriver.remote.webelement import WebElement
from selenium.webdriver.support.wait import WebDriverWait

CHROMIUM, DRIVER = "/usr/bin/chromium", "/usr/bin/chromedriver"
SECONDS = 30.0
DESKTOP, PHONE = (1280, 900), (390, 844)
_FLAGS = (
    "--headless=new",
    "--no-sandbox",  # the tests may be root's, for whom Chromium has none
    "--disable-gpu",
    "--disable-dev-shm-usage",  # small in containers
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
    "--lang=en-GB",
)


def missing() -> str:
    """Why there is no browser here; empty if there is one."""
    lacking = [program for program in (CHROMIUM, DRIVER) if not Path(program).exists()]
    return f"there is no {' and no '.join(lacking)}; make test installs them" if lacking else ""


class Browser:
    """One browser with one window, which knows nothing of former ones."""

    def __init__(self) -> None:
        self._profile = tempfile.mkdtemp(prefix="radiovis-chromium-")
        options = webdriver.ChromeOptions()
        options.binary_location = CHROMIUM
        for flag in (*_FLAGS, f"--user-data-dir={self._profile}"):
            options.add_argument(flag)
        options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
        self.driver = webdriver.Chrome(options=options, service=Service(DRIVER))
        self.driver.set_page_load_timeout(SECONDS)
        self.resize(DESKTOP)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """End it, and remove what it kept."""
        self.driver.quit()
        shutil.rmtree(self._profile, ignore_errors=True)

    def resize(self, size: tuple[int, int]) -> None:
        """The screen, in CSS pixels."""
        width, height = size
        metrics = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < DESKTOP[0]}
        self.driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)

    def prefer(self, **features: str) -> None:
        """What the reader has set, such as ``prefers_color_scheme="light"``."""
        chosen = [{"name": name.replace("_", "-"), "value": value} for name, value in features.items()]
        self.driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": chosen})

    def open(self, url: str) -> None:
        """Load a page; what the console said of the one before is forgotten."""
        self.driver.get(url)
        self.driver.get_log("browser")

    # What is there

    def all(self, selector: str) -> list[WebElement]:
        found: list[WebElement] = self.driver.find_elements(By.CSS_SELECTOR, selector)
        return found

    def one(self, selector: str) -> WebElement:
        found: WebElement = self.driver.find_element(By.CSS_SELECTOR, selector)
        return found

    def text(self, selector: str) -> str:
        return str(self.one(selector).text)

    def run(self, script: str) -> Any:
        """What a script returns."""
        return self.driver.execute_script(script)

    def wait_until(self, condition: Callable[[], object], what: str = "") -> None:
        """Until this is true; an element that was replaced meanwhile is looked for again."""

        def holds(_: object) -> object:
            try:
                return condition()
            except StaleElementReferenceException:
                return False

        try:
            WebDriverWait(self.driver, SECONDS, 0.05).until(holds)
        except TimeoutException:
            raise AssertionError(f"not within {SECONDS} s: {what or condition}; {self.text('body')!r}") from None

    # What remains

    def console(self) -> list[str]:
        """What the console said since it was asked last: errors and warnings."""
        return [line["message"] for line in self.driver.get_log("browser") if line["level"] in ("SEVERE", "WARNING")]

    def screenshot(self, name: str) -> Path:
        """Keep what is to be seen, and tell where, whatever the test runner does with what is printed."""
        folder = Path(os.environ.get("SCREENSHOTS") or "build/screenshots")
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / f"{name}.png"
        self.driver.save_screenshot(str(path))
        print(f"screenshot: {path}", file=sys.__stderr__, flush=True)
        return path
