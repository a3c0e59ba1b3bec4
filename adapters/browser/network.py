"""What the network says about a page: the status of the document, and the account-info call. Bodies are not kept."""

import json
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

from adapters.browser.devtools import Event
from adapters.browser.settings import LoginMarkers
from adapters.browser.tabs import Tab, TabBusy

_BODY_MAX = 1_000_000
_ABORTED = "net::ERR_ABORTED"  # another navigation has taken its place
_ERRORS = 400
_EMPTY = ("", "0", 0, None, False)


def covers(hosts: tuple[str, ...], host: str) -> bool:
    """Tell whether one of the hosts is this one or a domain above it."""
    return any(host == each.lstrip(".") or host.endswith(f".{each.lstrip('.')}") for each in hosts)


@dataclass(slots=True)
class NetworkView:
    """Follows the events of one page load."""

    markers: LoginMarkers
    hosts: tuple[str, ...]
    frame: str
    page_status: int | None = None
    page_url: str = ""
    load_error: str | None = None
    info_status: int | None = None
    info_login: bool | None = None
    username: str | None = None
    loader: str | None = None  # of the document that was requested last
    answers: int = 0  # of the account-info call, and failures of the page
    _document: str | None = None
    _looked_at: str | None = None
    _before: tuple[int | None, str, str | None] = (None, "", None)  # what an aborted request gives way to
    _asked: set[str] = field(default_factory=set)
    _infos: set[str] = field(default_factory=set)

    @property
    def info_pending(self) -> bool:
        """Tell whether an account-info call has been made and is not answered in full."""
        return bool(self._asked | self._infos)

    def has_turned(self) -> bool:
        """Tell whether the document is another one than when this was last asked."""
        before, self._looked_at = self._looked_at, self.loader
        return self.loader != before

    def feed(self, events: list[Event], tab: Tab) -> None:
        """Take in what has happened. Raises TabGone."""
        for method, params in events:
            match method:
                case "Network.requestWillBeSent":
                    self._begin(params)
                case "Network.responseReceived":
                    self._respond(params)
                case "Network.loadingFailed":
                    self._fail(params)
                case "Network.loadingFinished" if params.get("requestId") in self._infos:
                    self._read(params, tab)

    def _begin(self, params: dict[str, Any]) -> None:
        request = params.get("requestId", "")
        if params.get("type") != "Document" or params.get("frameId") != self.frame:
            if self._is_info_call(params.get("type"), params.get("request", {})):
                self._asked.add(request)
            return
        if request != self._document:
            self._before = (self.page_status, self.page_url, self.loader)
        self._document, self.loader = request, params.get("loaderId")
        self.page_status, self.page_url, self.load_error = None, "", None

    def _respond(self, params: dict[str, Any]) -> None:
        response = params.get("response", {})
        status = int(response.get("status", 0)) or None
        if params.get("type") == "Document":
            if params.get("frameId") == self.frame:
                self.page_status, self.page_url = status, response.get("url", "")
                self.answers += int(status or 0) >= _ERRORS
                self._asked.clear()  # the page before has taken its calls with it
                self._infos.clear()
            return
        self._asked.discard(params.get("requestId", ""))  # wherever it has been sent on to
        if self._is_info_call(params.get("type"), response):
            self.info_status, self.info_login = status, None
            self._infos.add(params.get("requestId", ""))

    def _is_info_call(self, kind: str | None, message: dict[str, Any]) -> bool:
        """Tell whether it is the account-info call itself, and not the browser's question whether it may be made."""
        address = urlsplit(message.get("url", ""))
        is_meant = covers(self.hosts, address.hostname or "") and self._is_info(address.path)
        return kind != "Preflight" and message.get("method") != "OPTIONS" and is_meant

    def _is_info(self, path: str) -> bool:
        return path.rstrip("/") in {each.rstrip("/") for each in self.markers.info_paths}

    def _fail(self, params: dict[str, Any]) -> None:
        error, request = str(params.get("errorText", "")) or "failed", params.get("requestId")
        self._asked.discard(request or "")
        self._infos.discard(request or "")
        if request != self._document:
            return
        if error == _ABORTED or params.get("canceled"):
            if self.page_status is None:
                self.page_status, self.page_url, self.loader = self._before  # a download: the page stays
        else:
            self.load_error = error[:100]
            self.answers += 1

    def _read(self, params: dict[str, Any], tab: Tab) -> None:
        self._infos.discard(params["requestId"])
        self.answers += 1
        if params.get("encodedDataLength", 0) > _BODY_MAX:
            return
        try:
            answer = tab.call("Network.getResponseBody", {"requestId": params["requestId"]})
            found = json.loads(answer.get("body", ""))
        except (TabBusy, ValueError, RecursionError):
            return
        self.info_login, name = read_info(found, self.markers)
        self.username = name or self.username


def read_info(found: Any, markers: LoginMarkers) -> tuple[bool | None, str | None]:
    """Return what an account-info answer says, and the user's name in it."""
    if not isinstance(found, dict):
        return None, None
    parts = [found, *(each for each in found.values() if isinstance(each, dict))]
    for part in parts:
        if any(part.get(key) not in _EMPTY for key in markers.info_user_keys):
            names = [part[key] for key in markers.info_name_keys if part.get(key) not in _EMPTY]
            return True, str(names[0])[:100] if names else None
    texts = {value for part in parts for value in part.values() if isinstance(value, str)}
    return (False if texts & set(markers.info_out_names) else None), None
