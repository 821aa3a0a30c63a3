"""One Chromium for the tests of the page, and a stand-in gateway for each of them."""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from selenium import webdriver
from selenium.webdriver.common.by import By
from selenium.webdriver.remote.webelement import WebElement
from selenium.webdriver.support.ui import WebDriverWait

sys.path.insert(0, str(Path(__file__).parent))
from fake_server import FakeGateway

WAIT_S = 15
CHROMIUM = (
    "--headless=new",
    "--no-sandbox",  # the tests run as root
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)


def _program(name: str) -> str:
    found = shutil.which(name)
    if found is None:
        raise RuntimeError(f"{name} is missing: apt-get install chromium chromium-driver")
    return found


@pytest.fixture(scope="session")
def chromium(tmp_path_factory: pytest.TempPathFactory) -> Iterator[webdriver.Chrome]:
    options = webdriver.ChromeOptions()
    options.binary_location = _program("chromium")
    for argument in (*CHROMIUM, f"--user-data-dir={tmp_path_factory.mktemp('chromium')}"):
        options.add_argument(argument)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    driver = webdriver.Chrome(options=options, service=webdriver.ChromeService(_program("chromedriver")))
    driver.execute_cdp_cmd(
        "Page.addScriptToEvaluateOnNewDocument",
        {
            "source": "window.violations = [];"
            "addEventListener('securitypolicyviolation', (event) =>"
            " violations.push(`${event.violatedDirective} ${event.blockedURI} ${event.sourceFile}`));"
            "addEventListener('error', (event) => violations.push(`error: ${event.message}`));"
            "addEventListener('unhandledrejection', (event) => violations.push(`rejected: ${event.reason}`));"
        },
    )
    yield driver
    driver.quit()


class Page:
    """The page in a browser: what a test does with it, in words."""

    def __init__(self, driver: webdriver.Chrome, gateway: FakeGateway) -> None:
        self.driver = driver
        self.gateway = gateway

    def size(self, width: int, height: int = 800) -> None:
        self.driver.execute_cdp_cmd(
            "Emulation.setDeviceMetricsOverride",
            {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 500},
        )

    def scheme(self, name: str, *, motion: str = "no-preference") -> None:
        self.driver.execute_cdp_cmd(
            "Emulation.setEmulatedMedia",
            {
                "features": [
                    {"name": "prefers-color-scheme", "value": name},
                    {"name": "prefers-reduced-motion", "value": motion},
                ]
            },
        )

    def open(self, place: str = "#/devices", *, logged_in: bool = True) -> None:
        """A fresh load of the page at a deep link."""
        self.driver.get("about:blank")
        self.driver.execute_cdp_cmd("Network.clearBrowserCookies", {})
        if logged_in:
            self.driver.execute_cdp_cmd(
                "Network.setCookie", {"name": "session", "value": "yes", "url": self.gateway.url}
            )
        self.driver.get(f"{self.gateway.url}/{place}")
        if logged_in:
            self.until("return document.querySelector('.link-state .link-dot.live') !== null")

    def js(self, script: str, *arguments: Any) -> Any:
        return self.driver.execute_script(script, *arguments)

    def until(self, script: str, *arguments: Any, seconds: float = WAIT_S) -> Any:
        """Waits until a script gives something true, and gives it."""
        return WebDriverWait(self.driver, seconds, poll_frequency=0.05).until(
            lambda _: self.js(script, *arguments), message=script
        )

    def find(self, selector: str) -> WebElement:
        self.until("return document.querySelector(arguments[0]) !== null", selector)
        return self.driver.find_element(By.CSS_SELECTOR, selector)

    def click(self, selector: str) -> None:
        self.until(
            "const found = document.querySelector(arguments[0]);"
            "if (!found || found.disabled) return false; found.click(); return true",
            selector,
        )

    def button(self, label: str, inside: str = "body") -> None:
        """Presses the button with this name, icon or words."""
        self.until(
            "const found = [...document.querySelectorAll(`${arguments[1]} button, ${arguments[1]} a`)]"
            ".find((one) => (one.getAttribute('aria-label') ?? one.textContent).trim() === arguments[0]);"
            "if (!found || found.disabled) return false; found.click(); return true",
            label,
            inside,
        )

    def fill(self, selector: str, text: str) -> None:
        element = self.find(selector)
        element.clear()
        element.send_keys(text)

    def text(self, selector: str) -> str:
        return str(self.js("return document.querySelector(arguments[0])?.innerText ?? ''", selector))

    def until_text(self, selector: str, wanted: str, *, seconds: float = WAIT_S) -> None:
        self.until(
            "return (document.querySelector(arguments[0])?.innerText ?? '').includes(arguments[1])",
            selector,
            wanted,
            seconds=seconds,
        )

    def resource(self, path: str) -> str:
        """A selector for the line of a resource."""
        self.until(
            "const found = [...document.querySelectorAll('.resource')]"
            ".find((one) => one.querySelector('.path').textContent === arguments[0]);"
            "found?.setAttribute('data-test', arguments[0]); return Boolean(found)",
            path,
        )
        return f'[data-test="{path}"]'

    def complaints(self) -> list[str]:
        """Console errors and violations of the policy since the last question."""
        found = [str(one) for one in self.js("return window.violations ?? []")]
        return found + [
            entry["message"]
            for entry in self.driver.get_log("browser")
            if entry["level"] in ("SEVERE", "WARNING")
        ]

    def addresses(self) -> list[str]:
        """Every address the browser asked for since the last question."""
        messages = (json.loads(entry["message"])["message"] for entry in self.driver.get_log("performance"))
        return [
            message["params"]["request"]["url"]
            for message in messages
            if message["method"] == "Network.requestWillBeSent"
        ]


Open = Callable[..., Page]


@pytest.fixture
def page_of(chromium: webdriver.Chrome) -> Iterator[Open]:
    """``page_of(devices=9, …)``: a page at a fresh stand-in gateway; complaints at the end fail the test."""
    gateways: list[FakeGateway] = []
    pages: list[Page] = []

    def make(**settings: Any) -> Page:
        gateway = FakeGateway(**{"lively": False, **settings})
        gateways.append(gateway.__enter__())
        page = Page(chromium, gateway)
        page.size(1440, 900)
        page.scheme("light")
        chromium.get_log("browser")
        chromium.get_log("performance")
        pages.append(page)
        return page

    yield make
    for _ in pages:
        chromium.get("about:blank")
        chromium.execute_cdp_cmd("Network.clearBrowserCookies", {})
    for gateway in gateways:
        gateway.__exit__()


@pytest.fixture
def page(page_of: Open) -> Page:
    """A page at a stand-in gateway with nine devices."""
    return page_of()
