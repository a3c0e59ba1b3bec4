"""Fetches videos from the hosts of the configuration, over https, into the media store.

Whoever orders a post chooses the address, so it is an attacker's tool until shown otherwise
(reliability-security.md 4.5 and 4.6 d). Queries of signed addresses are passwords: no message here carries one.
"""

import contextlib
import hashlib
import http.client
import logging
import ssl
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from http import HTTPStatus
from pathlib import Path
from urllib.parse import urljoin

from adapters.media.dialing import Dial, Pinned, Resolve, Watchdog, checked_addresses, dial, resolve
from adapters.media.hosts import Hosts, Target, refused
from adapters.media.parts import Part, PartTaken
from adapters.media.refusals import shutting_down
from adapters.media.store import FileStore
from daemon.domain.errors import Code, Rejected, StartRefused
from daemon.domain.media import MediaFacts

LOG = logging.getLogger("tokd.media")
Tell = Callable[[int, int | None], None]
REDIRECTS_MAX = 5
_BLOCK = 256 * 1024
_MOVED = frozenset({301, 302, 303, 307, 308})
_PASSING = frozenset({408, 425, 429})
_SERVER_FAULT = 500
_STATUS_HINT = "the address of a signed file may have expired: order it again with a new one"


@dataclass(frozen=True, slots=True, kw_only=True)
class FetchSettings:
    """How long a fetch may take, in seconds, and whom it trusts."""

    timeout_s: float = 3600
    stall_s: float = 30
    ca_file: Path | None = None
    retry_delays_s: tuple[float, ...] = (1, 4, 15)


class _Passing(Exception):
    """Trouble that may be over at the next try."""


class RemoteFiles:
    """Implements ports.MediaFetcher. `resolver` and `dialer` are what touches the network."""

    def __init__(
        self, settings: FetchSettings, hosts: Hosts, store: FileStore, stopping: threading.Event, *,
        resolver: Resolve = resolve, dialer: Dial = dial,
    ) -> None:  # fmt: skip
        self._settings = settings
        self._hosts = hosts
        self._store = store
        self._stopping = stopping
        self._resolver = resolver
        self._dialer = dialer
        # The system's certificates take memory, so they are read at the first fetch; a wrong file is told at the start.
        self._tls = _tls_of(settings.ca_file) if settings.ca_file is not None else None

    def fetch(self, url: str, key: str, field: str, tell: Tell) -> MediaFacts:
        """Fetch, check and keep the file. What it raises stands at the port."""
        target = self._hosts.target(url, field)
        name = f"fetch-{hashlib.sha256(key.encode()).hexdigest()[:32]}"
        note = self._store.parts.note(name)
        if "media" in note and (facts := self._store.find(str(note["media"]))) is not None:
            return self._store.renewed(facts)  # fetched before a crash
        try:
            part = self._store.parts.open_part(name)
        except PartTaken:
            raise refused(field, "fetch_busy", "is being fetched just now", retryable=True) from None
        run = _Run(self, url, target, field, part, tell)
        keep = True
        try:
            try:
                run.fill()
                return self._keep(part, target, field)
            except Rejected as refusal:
                keep = refusal.code is Code.SHUTTING_DOWN
                raise
        finally:
            part.close(keep=keep)

    def _keep(self, part: Part, target: Target, field: str) -> MediaFacts:
        parts = self._store.parts

        def publish(media: str) -> None:
            # Before the file has its name: a crash in between finds the part complete, and fetches nothing again.
            parts.write_note(part.name, parts.note(part.name) | {"media": media})

        return self._store.keep(part, f"the file {target.shown}", field, publish).facts

    @property
    def settings(self) -> FetchSettings:
        """Return how long things may take."""
        return self._settings

    @property
    def size_max(self) -> int:
        """Return how many bytes a file may have."""
        return self._store.size_max

    def stop_if_asked(self) -> None:
        """Raise Rejected(shutting_down) where the daemon is stopping."""
        if self._stopping.is_set():
            raise shutting_down()

    def pause(self, seconds: float) -> None:
        """Wait. Raises Rejected(shutting_down) as soon as the daemon stops."""
        self._stopping.wait(seconds)
        self.stop_if_asked()

    def watchdog(self) -> Watchdog:
        """Return one for a whole fetch."""
        return Watchdog(self._settings.timeout_s, self._stopping)

    def require_space(self, more: int) -> None:
        """Raise Rejected(disk_full) where there is no room for so many bytes more."""
        self._store.parts.require_space(more)

    def note(self, name: str) -> dict[str, object]:
        """Return what is known of a part."""
        return self._store.parts.note(name)

    def write_note(self, name: str, note: dict[str, object]) -> None:
        """Write down what is known of a part."""
        self._store.parts.write_note(name, note)

    def target_of(self, url: str, field: str) -> Target:
        """Return where an address leads to. Raises Rejected(media_rejected)."""
        return self._hosts.target(url, field)

    def connect(self, target: Target, field: str, watch: Watchdog) -> Pinned:
        """Return a connection, not opened yet. Raises Rejected, OSError."""
        addresses = checked_addresses(target, self._resolver, field, watch)
        self._tls = self._tls or _tls_of(None)
        return Pinned(target, addresses, self._tls, self._settings.stall_s, self._dialer, watch)


class _Run:
    """One fetch: its tries, their redirects, and where the next one goes on."""

    def __init__(
        self, files: RemoteFiles, url: str, target: Target, field: str, part: Part, tell: Tell
    ) -> None:
        self._files = files
        self._url = url
        self._target = target
        self._field = field
        self._part = part
        self._tell = tell
        note = files.note(part.name)
        self._validator = str(note.get("validator") or "")
        total = note.get("total")
        self._total = total if isinstance(total, int) else None

    def fill(self) -> None:
        """Receive the whole file. Raises Rejected."""
        if self._total is not None and self._part.received == self._total:
            return  # it was complete before a crash
        with self._files.watchdog() as watch:
            for delay in (*self._files.settings.retry_delays_s, None):
                try:
                    self._try(watch)
                except _Passing as trouble:
                    self._files.stop_if_asked()
                    if watch.is_over:
                        raise self._over() from None
                    if delay is None:
                        raise self._refused(
                            "fetch_failed", f"{trouble}; send the order again later"
                        ) from None
                    LOG.info("fetching from %s: %s; once more in %g s", self._target.host, trouble, delay)
                    self._files.pause(delay)
                else:
                    return

    def _try(self, watch: Watchdog) -> None:
        try:
            with self._answer(watch) as answer:
                self._take(answer, watch)
        except ssl.SSLCertVerificationError as error:
            raise self._refused(
                "fetch_certificate", f"host {self._target.host} has no certificate to trust: {error.verify_message}",
                retryable=False,
            ) from None  # fmt: skip
        except (OSError, http.client.HTTPException) as error:
            raise _Passing(_words(error)) from None

    @contextlib.contextmanager
    def _answer(self, watch: Watchdog) -> Iterator[http.client.HTTPResponse]:
        """Follow redirects to an answer that is none; every step is checked like the first one."""
        url, target = self._url, self._target
        for _ in range(REDIRECTS_MAX + 1):
            self._files.stop_if_asked()
            connection = self._files.connect(target, self._field, watch)
            try:
                connection.request("GET", target.path, headers=self._headers())
                answer = connection.getresponse()
                if answer.status not in _MOVED:
                    yield answer
                    return
                url = _joined(url, answer.headers.get("Location", ""))
                target = self._files.target_of(url, self._field)
            finally:
                watch.release()
                connection.close()
        raise self._refused(
            "fetch_redirects", f"leads through more than {REDIRECTS_MAX} redirects", retryable=False
        )

    def _headers(self) -> dict[str, str]:
        headers = {"Accept": "video/*, */*;q=0.1", "Accept-Encoding": "identity", "User-Agent": "tokd"}
        if self._part.received and self._validator:
            headers |= {"Range": f"bytes={self._part.received}-", "If-Range": self._validator}
        elif self._part.received:
            self._part.empty()  # nothing shows that the rest would belong to it
        return headers

    def _take(self, answer: http.client.HTTPResponse, watch: Watchdog) -> None:
        status = answer.status
        if status == HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE:
            self._part.empty()
            raise _Passing("it has become another file")
        if status in _PASSING or status >= _SERVER_FAULT:
            raise _Passing(f"it answers {status}")
        if status not in {HTTPStatus.OK, HTTPStatus.PARTIAL_CONTENT}:
            raise self._refused("fetch_status", f"it answers {status}", _STATUS_HINT, retryable=False)
        if status == HTTPStatus.OK:
            self._part.empty()
        elif _begins_at(answer) != self._part.received:
            self._part.empty()
            raise _Passing("it sends another part than it was asked for")
        if answer.headers.get("Content-Encoding", "identity").lower() != "identity":
            raise self._refused("fetch_encoding", "it sends the file compressed", retryable=False)
        self._measure(answer)
        self._receive(answer, watch)

    def _measure(self, answer: http.client.HTTPResponse) -> None:
        # http.client has read Content-Length already: None for a chunked body, and for one that ends with its connection.
        self._total = None if answer.length is None else self._part.received + answer.length
        if self._total is not None and self._total > self._files.size_max:
            raise self._too_large()
        self._files.require_space(answer.length or 0)
        tag, changed = answer.headers.get("ETag", ""), answer.headers.get("Last-Modified", "")
        self._validator = tag if tag.startswith('"') else changed
        self._files.write_note(self._part.name, {"validator": self._validator, "total": self._total})

    def _receive(self, answer: http.client.HTTPResponse, watch: Watchdog) -> None:
        self._tell(self._part.received, self._total)
        while block := answer.read1(_BLOCK):
            if self._part.received + len(block) > self._files.size_max:
                raise self._too_large()
            self._part.write(block)
            self._files.stop_if_asked()
            self._tell(self._part.received, self._total)
        self._files.stop_if_asked()
        if watch.is_over:
            raise self._over()
        if self._total is not None and self._part.received != self._total:
            raise _Passing(f"the connection ended after {self._part.received} of {self._total} bytes")

    def _over(self) -> Rejected:
        seconds = self._files.settings.timeout_s
        return self._refused("fetch_timeout", f"took longer than {seconds:g} s (media.fetch_timeout_s)")

    def _too_large(self) -> Rejected:
        limit = f"is larger than {self._files.size_max} bytes (tiktok.file_size_max)"
        return self._refused("file_size", limit, retryable=False)

    def _refused(self, problem: str, message: str, hint: str = "", *, retryable: bool = True) -> Rejected:
        advice = hint or "look at the host of the address"
        return refused(
            self._field,
            problem,
            f"{self._target.shown} could not be fetched: {message}",
            advice,
            retryable=retryable,
        )


def _joined(url: str, location: str) -> str:
    try:
        return urljoin(url, location)
    except ValueError:
        return ""  # which is no address, and refused as such


def _begins_at(answer: http.client.HTTPResponse) -> int | None:
    unit, _, span = answer.headers.get("Content-Range", "").partition(" ")
    first = span.partition("-")[0]
    return int(first) if unit == "bytes" and first.isascii() and first.isdecimal() else None


def _words(error: Exception) -> str:
    """Return what went wrong; an error's own text may hold what a host has sent, or the address."""
    if isinstance(error, TimeoutError):
        return "the host does not answer in time"
    if isinstance(error, OSError) and error.strerror:
        return f"no connection: {error.strerror}"
    return f"the connection broke ({type(error).__name__})"


def _tls_of(ca_file: Path | None) -> ssl.SSLContext:
    context = ssl.create_default_context()
    if ca_file is not None:
        try:
            context.load_verify_locations(cafile=str(ca_file))
        except (OSError, ssl.SSLError) as error:
            raise StartRefused(f"media.ca_file {ca_file} holds no certificates: {error}") from error
    return context
