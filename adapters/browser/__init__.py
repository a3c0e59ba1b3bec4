"""Browser sessions in real Chromium: each in a worker process of its own, with nothing left behind."""

from adapters.browser.browsers import ChromiumBrowsers
from adapters.browser.settings import BrowserSettings, LoginMarkers, PageState

__all__ = ["BrowserSettings", "ChromiumBrowsers", "LoginMarkers", "PageState"]
