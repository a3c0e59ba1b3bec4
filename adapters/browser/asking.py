"""What can be asked of a browser while the person has it: its login state, and a picture."""

import base64
import contextlib
from collections.abc import Callable
from typing import Any

from adapters.browser.devtools import BrowserLine, DevToolsError, DevToolsGone
from adapters.browser.facts import Detection, no_answer
from adapters.browser.settings import BrowserSettings
from adapters.browser.tabs import LineTab
from daemon.domain.login import Verdict
from daemon.domain.session import Pictured

_PICTURE_WITHIN_S = 5.0
_VISIBLE_WITHIN_S = 0.5
_QUALITY = 70
_TABS_MAX = 20


def read_login(
    line: BrowserLine,
    url: str,
    settings: BrowserSettings,
    is_over: Callable[[], bool],
    wait: Callable[[float], None],
) -> Verdict:
    """Read the login state in a tab of our own, so that the person's page is left alone."""
    try:
        target = _own_tab(line)
    except (DevToolsError, DevToolsGone, KeyError):
        return no_answer("the browser opened no tab for the question")
    try:
        session = str(line.call("Target.attachToTarget", {"targetId": target, "flatten": True})["sessionId"])
        detection = Detection(
            tab=LineTab(line, session), url=url, settings=settings, is_over=is_over, wait=wait
        )
        verdict = detection.run(lambda: line.tell("Page.navigate", {"url": url}, session=session))
    except (DevToolsError, DevToolsGone, KeyError):
        verdict = None
    finally:
        with contextlib.suppress(DevToolsError, DevToolsGone):
            line.call("Target.closeTarget", {"targetId": target})
        line.forget()
    return verdict or no_answer("the session ended before there was an answer")


def take_picture(line: BrowserLine, token: str) -> Pictured:
    """Take a picture of the tab that the person sees."""
    try:
        tabs = line.call("Target.getTargets")["targetInfos"]
        pages = [each["targetId"] for each in tabs if each.get("type") == "page"][:_TABS_MAX]
        if not pages:
            return Pictured(token=token, refusal="the browser has no page open")
        return Pictured(token=token, image=_picture(line, _seen(line, pages)))
    except (DevToolsError, DevToolsGone, KeyError, ValueError):
        return Pictured(token=token, refusal="the browser made no picture in time")
    finally:
        line.forget()


def _own_tab(line: BrowserLine) -> str:
    """Open a tab that the window does not show; in browsers that cannot, one in the background."""
    params: dict[str, Any] = {"url": "about:blank"}
    try:
        return str(line.call("Target.createTarget", params | {"hidden": True})["targetId"])
    except DevToolsError:
        return str(line.call("Target.createTarget", params | {"background": True})["targetId"])


def _seen(line: BrowserLine, pages: list[str]) -> str:
    """Return the page that is in front, the first where none says so."""
    for page in pages if len(pages) > 1 else ():
        with _attached(line, page) as session, contextlib.suppress(DevToolsError):
            answer = line.call(
                "Runtime.evaluate", {"expression": "document.visibilityState", "returnByValue": True},
                session=session, within_s=_VISIBLE_WITHIN_S,
            )  # fmt: skip
            if answer.get("result", {}).get("value") == "visible":
                return page
    return pages[0]


def _picture(line: BrowserLine, page: str) -> bytes:
    with _attached(line, page) as session:
        answer = line.call(
            "Page.captureScreenshot", {"format": "jpeg", "quality": _QUALITY},
            session=session, within_s=_PICTURE_WITHIN_S,
        )  # fmt: skip
    return base64.b64decode(answer["data"])


@contextlib.contextmanager
def _attached(line: BrowserLine, page: str) -> Any:
    session = str(line.call("Target.attachToTarget", {"targetId": page, "flatten": True})["sessionId"])
    try:
        yield session
    finally:
        with contextlib.suppress(DevToolsError, DevToolsGone):
            line.call("Target.detachFromTarget", {"sessionId": session})
