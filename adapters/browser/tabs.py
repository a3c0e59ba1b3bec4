"""A tab that can be asked and listened to, on the browser's own line.

Not through chromedriver: reading its performance log evaluates a script in the page, and that waits for as long as the
page's server does (measured: four times the client's timeout), so no deadline would hold.
"""

import contextlib
import json
from collections.abc import Sequence
from typing import Any

from adapters.browser.devtools import BrowserLine, DevToolsError, DevToolsGone, Event, Request

SCRIPT_WITHIN_S = 1.5


class TabBusy(Exception):
    """Nothing can be learned just now: the page is being replaced, or a dialog is open."""


class TabGone(Exception):
    """Nothing will be learned any more."""


class Tab:
    """One tab, attached for as long as it is needed. All raise TabBusy and TabGone."""

    def __init__(self, line: BrowserLine, target: str) -> None:
        self._line = line
        try:
            answer = line.call("Target.attachToTarget", {"targetId": target, "flatten": True})
        except (DevToolsError, DevToolsGone) as error:
            raise TabGone(str(error)) from error
        self.session = str(answer["sessionId"])

    def call(self, method: str, params: dict[str, Any], within_s: float = 2.0) -> dict[str, Any]:
        """Return the answer of a DevTools method."""
        try:
            return self._line.call(method, params, session=self.session, within_s=within_s)
        except DevToolsGone as error:
            raise TabGone(str(error)) from error
        except DevToolsError as error:
            raise TabBusy(str(error)) from error

    def tell(self, method: str, params: dict[str, Any]) -> None:
        """Call a method whose answer may be long in coming."""
        try:
            self._line.tell(method, params, session=self.session)
        except DevToolsGone as error:
            raise TabGone(str(error)) from error

    def ask(self, requests: Sequence[Request], within_s: float) -> list[dict[str, Any] | None]:
        """Return the answers of several methods that are called at once, None for what cannot be learned just now."""
        try:
            return self._line.ask(requests, session=self.session, within_s=within_s)
        except DevToolsGone as error:
            raise TabGone(str(error)) from error

    def events(self) -> list[Event]:
        """Return the Network events since the last time."""
        try:
            return self._line.events(self.session)
        except DevToolsGone as error:
            raise TabGone(str(error)) from error

    def wait(self, seconds: float) -> None:
        """Wait for an event, at most so long; what came may be another tab's."""
        try:
            self._line.wait(seconds)
        except DevToolsGone as error:
            raise TabGone(str(error)) from error

    def close(self) -> None:
        """Let go of it."""
        with contextlib.suppress(DevToolsError, DevToolsGone):
            self._line.call("Target.detachFromTarget", {"sessionId": self.session})
        self._line.forget()


def script(function: str, argument: dict[str, Any]) -> Request:
    """Return the request to call a JavaScript function with this argument."""
    expression = f"({function})({json.dumps(argument)})"
    return "Runtime.evaluate", {"expression": expression, "returnByValue": True, "silent": True}


def returned(answer: dict[str, Any] | None) -> dict[str, Any]:
    """Return the object that the function has returned, an empty one where it has not."""
    found = (answer or {}).get("result", {}).get("value")
    return found if isinstance(found, dict) else {}
