"""Headless Chromium, driven through its own driver."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from selenium.webdriver import Chrome, ChromeOptions, ChromeService
from selenium.webdriver.common.by import By
from selenium.webdriver.remote.webelement import WebElement
from selenium.webdriver.support.wait import WebDriverWait

BINARIES = (Path("/usr/bin/chromium"), Path("/usr/bin/chromedriver"))
PATIENCE_SECONDS = 60
AXE = Path(__file__).parent.parent.parent / ".tools/axe.min.js"


class Browser:
    """One browser with a profile of its own."""

    def __init__(self, address: str, *, javascript: bool = True) -> None:
        options = ChromeOptions()
        options.binary_location = str(BINARIES[0])
        # Root cannot use the sandbox; a container's /dev/shm may be small.
        for argument in ("--headless=new", "--no-sandbox", "--disable-dev-shm-usage", "--disable-gpu"):
            options.add_argument(argument)
        if not javascript:
            options.add_experimental_option("prefs", {"profile.managed_default_content_settings.javascript": 2})
        self.driver = Chrome(options=options, service=ChromeService(str(BINARIES[1])))
        self.driver.set_page_load_timeout(PATIENCE_SECONDS)
        self.address = address

    def open(self, path: str) -> None:
        self.driver.get(f"{self.address}{path}")

    def sign_in(self, name: str, password: str) -> None:
        self.open("/sign-in")
        self.find("#name").send_keys(name)
        self.find("#password").send_keys(password)
        self.find("main button").click()
        self.wait_for("What waits", "h1")

    def find(self, selector: str) -> WebElement:
        return self.driver.find_element(By.CSS_SELECTOR, selector)

    def text(self, selector: str = "main") -> str:
        text: str = self.find(selector).text
        return text

    def wait_for(self, text: str, selector: str = "main", seconds: float = PATIENCE_SECONDS) -> None:
        """Return as soon as the element has the text, whichever page it is on."""
        waiting = WebDriverWait(self.driver, seconds, poll_frequency=0.02, ignored_exceptions=[Exception])
        waiting.until(lambda _: text in self.text(selector), f"no {text!r}")

    def show(self, *, width: int = 1000, height: int = 800, dark: bool = False) -> None:
        """Take a size and a colour scheme."""
        metrics = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 500}
        self.driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self.driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": [scheme]})

    def overflow(self) -> int:
        """By how many pixels the page is wider than the window."""
        script = "return document.documentElement.scrollWidth - document.documentElement.clientWidth"
        pixels: int = self.driver.execute_script(script)
        return pixels

    def faults_of_access(self) -> list[str]:
        """What axe-core finds: what is serious or critical, with the elements."""
        self.driver.execute_cdp_cmd("Runtime.evaluate", {"expression": AXE.read_text(encoding="utf-8")})
        found: list[dict[str, Any]] = self.driver.execute_async_script(
            "const done = arguments[0];"
            "axe.run().then(result => done(result.violations), error => done([{id: `${error}`}]))"
        )
        return [
            f"{fault['id']}: {json.dumps([node['html'] for node in fault.get('nodes', [])])}"
            for fault in found
            if fault.get("impact") in (None, "serious", "critical")
        ]

    def close(self) -> None:
        self.driver.quit()


class Browsers:
    """The browsers of the tests: two approvers with JavaScript and two without, and somebody with a link."""

    def __init__(self, address: str, password: str) -> None:
        self._address = address
        self._password = password
        self._approvers: dict[tuple[str, bool], Browser] = {}

    def approver(self, name: str, *, javascript: bool = True) -> Browser:
        key = (name, javascript)
        if key not in self._approvers:
            self._approvers[key] = Browser(self._address, javascript=javascript)
            self._approvers[key].sign_in(name, self._password)
        return self._approvers[key]

    def stranger(self) -> Browser:
        """Nobody is signed in."""
        key = ("", True)
        if key not in self._approvers:
            self._approvers[key] = Browser(self._address)
        return self._approvers[key]

    def close(self) -> None:
        for browser in self._approvers.values():
            browser.close()
