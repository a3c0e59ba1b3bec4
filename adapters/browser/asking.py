"""What can be asked of a browser while the person has it: its login state, and a picture."""

import base64
import contextlib
from collections.abc import Callable
from typing import Any

from adapters.browser.devtools import BrowserLine, DevToolsError, DevToolsGone
from adapters.browser.facts import Detection, no_answer
from adapters.browser.keyring import KeyringWatch
from adapters.browser.settings import BrowserSettings
from adapters.browser.tabs import SCRIPT_WITHIN_S, Tab, TabBusy, TabGone, returned, script
from daemon.domain.login import Verdict
from daemon.domain.session import Pictured

_PICTURE_WITHIN_S = 5.0
_VISIBLE = "() => ({state: document.visibilityState})"
_QUALITY = 70
_TABS_MAX = 20
_OWN_TAB: tuple[tuple[str, dict[str, Any]], ...] = (
    ("Network.setBypassServiceWorker", {"bypass": True}),
    ("Network.setCacheDisabled", {"cacheDisabled": True}),
    (
        "Emulation.setDeviceMetricsOverride",
        {"width": 1280, "height": 900, "deviceScaleFactor": 1, "mobile": False},
    ),
)


def read_login(
    line: BrowserLine,
    url: str,
    settings: BrowserSettings,
    is_over: Callable[[], bool],
    tick: Callable[[], None] | None = None,
    keyring: KeyringWatch | None = None,
) -> Verdict:
    """Read the login state in a tab of our own, so that the person's page is left alone."""
    try:
        target = _own_tab(line)
    except (DevToolsError, DevToolsGone, KeyError):
        return no_answer("the browser opened no tab for the question")
    try:
        tab = Tab(line, target)
        detection = Detection(
            tab=tab, url=url, settings=settings, is_over=is_over, tick=tick, keyring=keyring
        )
        verdict = detection.run(lambda: _navigate(tab, url))
    except TabGone:
        verdict = None
    finally:
        with contextlib.suppress(DevToolsError, DevToolsGone):
            line.call("Target.closeTarget", {"targetId": target})
        line.forget()
    return verdict or no_answer("the session ended before there was an answer")


def take_picture(line: BrowserLine, token: str) -> Pictured:
    """Take a picture of the tab that the person sees."""
    try:
        pages = [each["targetId"] for each in targets(line) if each.get("type") == "page"][:_TABS_MAX]
        if not pages:
            return Pictured(token=token, refusal="the browser has no page open")
        return Pictured(token=token, image=_picture(line, _seen(line, pages)))
    except (DevToolsError, DevToolsGone, TabBusy, TabGone, KeyError, ValueError):
        return Pictured(token=token, refusal="the browser made no picture in time")


def targets(line: BrowserLine) -> list[dict[str, Any]]:
    """Return what the browser has open."""
    return list(line.call("Target.getTargets")["targetInfos"])


def address_of(line: BrowserLine, target: str) -> str:
    """Return where a tab is, or is going to. Raises DevToolsGone."""
    with contextlib.suppress(DevToolsError):
        found = [str(each.get("url")) for each in targets(line) if each.get("targetId") == target]
        return found[0] if found else ""
    return ""


def _own_tab(line: BrowserLine) -> str:
    """Open a tab that the window does not show; in browsers that cannot, one in the background."""
    params: dict[str, Any] = {"url": "about:blank"}
    try:
        return str(line.call("Target.createTarget", params | {"hidden": True})["targetId"])
    except DevToolsError:
        return str(line.call("Target.createTarget", params | {"background": True})["targetId"])


def _navigate(tab: Tab, url: str) -> None:
    """Go there, and let no older answer stand in for the server's; and let the tab have a size, or all is invisible."""
    for method, params in _OWN_TAB:
        with contextlib.suppress(TabBusy):
            tab.call(method, params)
    tab.tell("Page.navigate", {"url": url})


def _seen(line: BrowserLine, pages: list[str]) -> str:
    """Return the page that is in front, the first where none says so."""
    for page in pages if len(pages) > 1 else ():
        with contextlib.closing(Tab(line, page)) as tab:
            (answer,) = tab.ask([script(_VISIBLE, {})], SCRIPT_WITHIN_S)
            if returned(answer).get("state") == "visible":
                return page
    return pages[0]


def _picture(line: BrowserLine, page: str) -> bytes:
    with contextlib.closing(Tab(line, page)) as tab:
        answer = tab.call(
            "Page.captureScreenshot", {"format": "jpeg", "quality": _QUALITY}, _PICTURE_WITHIN_S
        )
    return base64.b64decode(answer["data"])
