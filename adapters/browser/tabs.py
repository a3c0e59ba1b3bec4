"""A tab that can be asked and listened to: through chromedriver, or over the browser's own line."""

import json
from typing import Any, Protocol

from selenium.common.exceptions import (
    InvalidSessionIdException,
    NoSuchWindowException,
    WebDriverException,
)
from selenium.webdriver.chromium.webdriver import ChromiumDriver
from selenium.webdriver.remote.command import Command

from adapters.browser.devtools import BrowserLine, DevToolsError, DevToolsGone, Event

_PERFORMANCE = {"type": "performance"}
_SCRIPT_WITHIN_MS = 1500


class TabBusy(Exception):
    """Nothing can be learned just now: the page is being replaced, or a dialog is open."""


class TabGone(Exception):
    """Nothing will be learned any more."""


class Tab(Protocol):
    """What the facts are collected from. All raise TabBusy and TabGone."""

    def call(self, method: str, params: dict[str, Any]) -> dict[str, Any]:
        """Return the answer of a DevTools method."""

    def look(self, function: str, argument: dict[str, Any]) -> dict[str, Any]:
        """Return what a JavaScript function returns for this argument."""

    def events(self) -> list[Event]:
        """Return the Network events since the last time."""


class SeleniumTab:
    """The tab that chromedriver drives; its events stand in the performance log."""

    def __init__(self, driver: ChromiumDriver) -> None:
        self._driver = driver
        self._target: str | None = None

    def call(self, method: str, params: dict[str, Any]) -> dict[str, Any]:
        """Return the answer of a DevTools method."""
        found: dict[str, Any] = self._try(lambda: self._driver.execute_cdp_cmd(method, params)) or {}
        return found

    def look(self, function: str, argument: dict[str, Any]) -> dict[str, Any]:
        """Return what a JavaScript function returns for this argument."""
        found = self._try(lambda: self._driver.execute_script(f"return ({function})(arguments[0])", argument))
        if not isinstance(found, dict):
            raise TabBusy("no object")
        return found

    def events(self) -> list[Event]:
        """Return the Network events since the last time."""
        target = self._own_target()
        found: list[Event] = []
        for entry in self._try(lambda: self._driver.execute(Command.GET_LOG, _PERFORMANCE))["value"]:
            letter = json.loads(entry["message"])
            if letter.get("webview") == target:
                message = letter["message"]
                found.append((message["method"], message.get("params", {})))
        return found

    def _own_target(self) -> str:
        if self._target is None:
            self._target = str(self._try(lambda: self._driver.current_window_handle))
        return self._target

    @staticmethod
    def _try(ask: Any) -> Any:
        try:
            return ask()
        except (NoSuchWindowException, InvalidSessionIdException) as error:
            raise TabGone(type(error).__name__) from error
        except WebDriverException as error:
            raise TabBusy(type(error).__name__) from error
        except Exception as error:  # urllib3's errors have no common parent with anything we may import
            raise TabGone(type(error).__name__) from error


class LineTab:
    """A tab on the browser's own line."""

    def __init__(self, line: BrowserLine, session: str) -> None:
        self._line = line
        self._session = session

    def call(self, method: str, params: dict[str, Any]) -> dict[str, Any]:
        """Return the answer of a DevTools method."""
        try:
            return self._line.call(method, params, session=self._session)
        except DevToolsGone as error:
            raise TabGone(str(error)) from error
        except DevToolsError as error:
            raise TabBusy(str(error)) from error

    def look(self, function: str, argument: dict[str, Any]) -> dict[str, Any]:
        """Return what a JavaScript function returns for this argument."""
        answer = self.call(
            "Runtime.evaluate",
            {
                "expression": f"({function})({json.dumps(argument)})", "returnByValue": True,
                "timeout": _SCRIPT_WITHIN_MS, "silent": True,
            },
        )  # fmt: skip
        found = answer.get("result", {}).get("value")
        if not isinstance(found, dict):
            raise TabBusy("no object")
        return found

    def events(self) -> list[Event]:
        """Return the Network events since the last time."""
        try:
            return self._line.events(self._session)
        except DevToolsGone as error:
            raise TabGone(str(error)) from error
