"""One HTTP exchange, and the exact knowledge of how far it got: that decides whether it may be repeated.

No redirects, retries, cookies or proxies from the environment; a total deadline; answers of 1 MiB at most.
"""

import contextlib
import socket
import ssl
import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

import requests
from requests.adapters import HTTPAdapter

from adapters.tiktok.settings import TikTokSettings
from adapters.tiktok.watch import Flight, watched
from daemon.domain.errors import Fault, PlatformError

MEBIBYTE = 1024 * 1024
_ANSWER_MAX = MEBIBYTE
_PIECE = 64 * 1024


class Readable(Protocol):
    """Where a body's bytes come from."""

    def read(self, size: int = ..., /) -> bytes:
        """Return at most `size` bytes, none at the end."""


class BodyFailed(Exception):
    """The body could not be read to its end, so the request that left is incomplete and cannot count."""


class ExactBody:
    """Exactly `size` bytes of a reader, as requests wants a body: `read` and a length.

    Raises BodyFailed where the reader fails or ends early: a short body would wait for an answer for ever.
    """

    def __init__(self, source: Readable, size: int) -> None:
        self._source = source
        self._size = size
        self._left = size

    def __len__(self) -> int:
        return self._size

    def read(self, size: int = -1) -> bytes:
        """Return the next bytes, at most `size`, none at the end."""
        if self._left == 0:
            return b""
        try:
            data = self._source.read(self._left if size < 0 else min(size, self._left))
        except (OSError, ValueError) as error:
            raise BodyFailed(f"the media file cannot be read: {type(error).__name__}") from None
        if not data:
            raise BodyFailed(f"the media file ended {self._left} bytes early")
        self._left -= len(data)
        return data


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """One request. `label` is all of it that may be shown; `is_fresh` gives it a connection of its own.

    `lost` and `lost_code` say how it counts when it was sent and no usable answer came: a read is transient.
    """

    method: str
    url: str = field(repr=False)
    label: str
    headers: Mapping[str, str] = field(repr=False)
    body: bytes | ExactBody = field(repr=False)
    is_fresh: bool = False
    lost: Fault = Fault.UNKNOWN_OUTCOME
    lost_code: str = "no_answer"


@dataclass(frozen=True, slots=True)
class Answer:
    """What came back: the whole body, at most 1 MiB. Header names are case-insensitive."""

    status: int
    headers: Mapping[str, str]
    body: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class _Loss:
    """Why there is no answer. Only words: a driver's exception carries the URL and the headers."""

    why: str
    is_ours: bool = False  # the media file failed, not the network


class _Adapter(HTTPAdapter):
    """Connections that move 1 MiB at a time, without Nagle's delay, and report to the current flight."""

    def __init__(self) -> None:
        self.flight: Flight | None = None
        super().__init__(max_retries=0)

    def init_poolmanager(self, connections: int, maxsize: int, block: bool = False, **options: Any) -> None:
        nodelay = [(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)]
        options |= {"blocksize": MEBIBYTE, "socket_options": nodelay}
        super().init_poolmanager(connections, maxsize, block, **options)

    def get_connection_with_tls_context(self, *args: Any, **kwargs: Any) -> Any:
        pool: Any = super().get_connection_with_tls_context(*args, **kwargs)
        pool.ConnectionCls = watched(pool.ConnectionCls, lambda: self.flight)
        return pool


class _Session(requests.Session):
    """A session that takes a redirect for an answer like any other and keeps no cookies between calls."""

    def __init__(self) -> None:
        super().__init__()
        self.trust_env = False
        self.adapter = _Adapter()
        self.mount("https://", self.adapter)
        self.mount("http://", self.adapter)

    def get_redirect_target(self, resp: requests.Response) -> str | None:  # noqa: ARG002
        """Return None: even looking at the target would read an unbounded body."""
        return None


class Transport:
    """Sends calls. Safe from any thread: each has a session of its own."""

    def __init__(self, settings: TikTokSettings) -> None:
        self._settings = settings
        self._local = threading.local()

    def send(self, call: Call) -> Answer:
        """Send once and return the answer, whatever its status.

        Raises PlatformError: `connect_failed`, `out_of_resources` (transient: not one byte left), the call's own
        `lost_code` (it began to leave, and no whole answer came back), `media_unreadable` (content).
        """
        settings = self._settings
        is_upload = isinstance(call.body, ExactBody)
        with Flight(settings.call_deadline_s, settings.read_timeout_s, is_upload=is_upload) as flight:
            if call.is_fresh:
                with contextlib.closing(_Session()) as session:
                    outcome = self._attempt(session, call, flight)
            else:
                outcome = self._attempt(self._session(), call, flight)
        if isinstance(outcome, Answer):
            return outcome
        # Raised here and not in the handler: so no driver's exception, with its URL and headers, hangs on it.
        raise _lost(call, flight, outcome)

    def _session(self) -> _Session:
        found: _Session | None = getattr(self._local, "session", None)
        if found is None:
            found = self._local.session = _Session()
        return found

    def _attempt(self, session: _Session, call: Call, flight: Flight) -> Answer | _Loss:
        session.adapter.flight = flight
        try:
            answer = self._exchange(session, call)
        except BodyFailed as error:
            session.close()
            return _Loss(str(error), is_ours=True)
        except Exception as error:  # noqa: BLE001 - the port promises PlatformError and nothing else
            session.close()
            return _Loss(_cause(error))
        finally:
            session.adapter.flight = None
        if flight.is_cut:
            session.close()  # an answer came before the body was out: this connection cannot be used again
        if flight.is_overdue:
            return _Loss("too late")
        if flight.is_cut and answer.status < 300:  # noqa: PLR2004 - nobody can have taken half a body
            return _Loss("answered before the body was out")
        return answer

    def _exchange(self, session: _Session, call: Call) -> Answer:
        headers = {"User-Agent": "tokd", "Accept-Encoding": "identity", **call.headers}
        request = requests.Request(call.method, call.url, headers=headers, data=call.body).prepare()
        patience = (self._settings.connect_timeout_s, self._settings.read_timeout_s)
        response = session.send(request, stream=True, timeout=patience, allow_redirects=False)
        with contextlib.closing(response):
            pieces: list[bytes] = []
            size = 0
            while piece := response.raw.read(_PIECE):
                pieces.append(piece)
                size += len(piece)
                if size > _ANSWER_MAX:
                    raise ValueError("the answer is longer than 1 MiB")
            return Answer(response.status_code, response.headers, b"".join(pieces))


def _lost(call: Call, flight: Flight, loss: _Loss) -> PlatformError:
    if loss.is_ours:
        return PlatformError(Fault.CONTENT, "media_unreadable", f"{call.label}: {loss.why}")
    why = "the deadline has passed" if flight.is_overdue else loss.why
    if flight.has_left:
        return PlatformError(call.lost, call.lost_code, f"{call.label}: sent, no answer ({why})")
    return PlatformError(
        Fault.TRANSIENT,
        "connect_failed",
        f"{call.label}: no connection ({why})",
        advice="Check the network, the name servers and the clock of this machine.",
    )


def _cause(error: BaseException) -> str:
    # Only the type's name: driver messages carry the URL with its query.
    chain: list[BaseException] = [error]
    for link in chain:
        nested = (link.__cause__, link.__context__, getattr(link, "reason", None), *link.args)
        chain += [item for item in nested if isinstance(item, BaseException) and item not in chain]
    known = [item for item in chain if isinstance(item, (ssl.SSLError, OSError))]
    roots = [item for item in known if not isinstance(item, requests.RequestException)]
    return type((roots or known or chain)[-1]).__name__
