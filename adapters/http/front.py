"""What stands before all routes: names, origins, sizes; and behind them, so that no error leaves without its shape."""

import logging
from collections.abc import Callable, Mapping
from time import perf_counter
from typing import Any

from fastapi.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from adapters.http.connections import HEAD_MAX
from adapters.http.errors import refusal
from adapters.http.hosts import Hosts, host_name
from adapters.http.origins import Origins
from adapters.http.settings import HttpSettings
from adapters.http.uploads import FORM_SLACK
from daemon.domain.errors import Code

CALLBACK = "/tiktok/callback"
log = logging.getLogger("tokd.http")

Observe = Callable[[str, int, float], None]  # endpoint, status, seconds
FAULT = "tokd failed on this request; its log says more"
_VERSIONS = {"1.0", "1.1"}
_DIGITS_MAX = 20
UPLOADS = "/api/v1/media"
_SAFE = {"cache-control": "no-store", "x-content-type-options": "nosniff"}


class Front:
    """An ASGI application around another one."""

    def __init__(self, app: ASGIApp, settings: HttpSettings, observe: Observe) -> None:
        self._app = app
        self._settings = settings
        self._observe = observe
        self._hosts = Hosts(settings.allowed_hosts, settings.host)
        self._origins = Origins(settings.cors_origins)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request. Nothing is raised."""
        if scope["type"] != "http":
            return
        begun, status, is_whole = perf_counter(), 0, False
        request = _headers(scope)
        more = _SAFE | self._origins.headers(request)

        async def send_on(message: Message) -> None:
            nonlocal status, is_whole
            if message["type"] == "http.response.start":
                status = message["status"]
                extra = [(name.encode(), value.encode("latin-1")) for name, value in more.items()]
                message = {**message, "headers": [*message["headers"], *extra]}
            else:
                is_whole = not message.get("more_body", False)
            await send(message)

        try:
            answer = self._refuse(scope, request) or self._preflight(scope, request) or self._app
            await answer(scope, receive, send_on)
        except Exception:
            log.exception("a request failed", extra={"action": "http_request"})
            if not status:
                failed = refusal(500, Code.INTERNAL, FAULT, scope["path"])
                await failed(scope, receive, send_on)
            elif not is_whole:
                scope["state"]["transport"].abort()  # half an answer must not look like a whole one
        finally:
            self._observe(_endpoint(scope), status, perf_counter() - begun)

    def _refuse(self, scope: Scope, request: Mapping[str, str]) -> Response | None:
        path, headers = scope["path"], scope["headers"]
        if sum(len(name) + len(value) for name, value in headers) + len(scope["raw_path"]) > HEAD_MAX:
            return refusal(431, Code.TOO_LARGE, f"a request's head may have {HEAD_MAX} bytes", path)
        if (
            scope["http_version"] not in _VERSIONS
            or {"content-length", "transfer-encoding"} <= request.keys()
        ):
            # Two lengths of one body: what stands before us may have gone by the other one.
            message = "a request is HTTP/1.1, with one length of its body: Content-Length or chunked"
            return refusal(400, Code.BAD_JSON, message, path, Connection="close")
        hosts = [value for name, value in headers if name == b"host"]
        if len(hosts) != 1 or host_name(request["host"]) is None:
            return refusal(400, Code.BAD_FIELD, "a request names its host once, in the Host header", path)
        if not self._hosts.knows(request["host"]):
            message = "tokd is not called by this name; http.allowed_hosts holds the names that count"
            return refusal(421, Code.FORBIDDEN, message, path)
        if self._origins.refuses(scope["method"], request) and not _is_callback(scope):
            message = "pages of this origin may not call tokd; http.cors_origins holds those that may"
            return refusal(403, Code.FORBIDDEN, message, path)
        length = request.get("content-length", "0")
        most = self._settings.body_max
        if scope["method"] == "POST" and path == UPLOADS:
            most = self._settings.upload_max + FORM_SLACK
        if not length.isdecimal() or len(length) > _DIGITS_MAX or int(length) > most:
            return refusal(413, Code.TOO_LARGE, f"a body may have {most} bytes", path)
        return None

    def _preflight(self, scope: Scope, request: Mapping[str, str]) -> Response | None:
        if scope["method"] != "OPTIONS" or "access-control-request-method" not in request:
            return None
        return Response(status_code=204, headers=self._origins.preflight())


def _headers(scope: Scope) -> dict[str, str]:
    """Return the headers. One that stands twice is both values: no single one of them may open a door."""
    found: dict[str, str] = {}
    for raw_name, raw_value in scope["headers"]:
        name, value = raw_name.decode("latin-1"), raw_value.decode("latin-1")
        found[name] = f"{found[name]}, {value}" if name in found else value
    return found


def _is_callback(scope: Scope) -> bool:
    """Tell whether a person comes back from TikTok: from a foreign page by its nature, and the state is the proof."""
    return (scope["method"], scope["path"]) == ("GET", CALLBACK)


def _endpoint(scope: Scope) -> str:
    """Return the route's pattern: a label must not grow with what callers send."""
    route: Any = scope.get("route")
    return str(getattr(route, "path", "")) or "none"
