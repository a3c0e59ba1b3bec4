"""Signed events to a loopback receiver, from one worker thread, again and again until it says 200."""

import hashlib
import heapq
import hmac
import http.client
import itertools
import json
import time
from collections.abc import Callable
from dataclasses import dataclass
from threading import Condition, Thread
from typing import Any
from urllib.parse import urlsplit

from .ledger import Ledger
from .options import Settings, SimulatorOptions

_GIVE_UP_SECONDS = 72 * 3600
_LONGEST_PAUSE_SECONDS = 600.0
_TIMEOUT_SECONDS = 10.0


def signature(secret: str, timestamp: int, body: bytes) -> str:
    """Return the value of the TikTok-Signature header."""
    digest = hmac.new(secret.encode(), f"{timestamp}.".encode() + body, hashlib.sha256).hexdigest()
    return f"t={timestamp},s={digest}"


@dataclass
class _Delivery:
    url: str
    event: str
    publish_id: str | None
    body: bytes
    created: float
    attempts: int = 0


class Webhooks:
    """The queue of deliveries and the thread that makes them. Deliveries do not survive a restart."""

    def __init__(
        self,
        options: SimulatorOptions,
        ledger: Ledger,
        settings: Callable[[], Settings],
        now: Callable[[], float],
    ) -> None:
        self._options = options
        self._ledger = ledger
        self._settings = settings
        self._now = now
        self._queue: list[tuple[float, int, _Delivery]] = []
        self._order = itertools.count()
        self._ticket = itertools.count()
        self._wake = Condition()
        self._stopping = False
        self._thread = Thread(target=self._run, name="simulator-webhooks", daemon=True)

    def start(self) -> None:
        """Start delivering."""
        self._thread.start()

    def stop(self) -> None:
        """Stop delivering; what is queued is lost."""
        with self._wake:
            self._stopping = True
            self._wake.notify()
        if self._thread.is_alive():
            self._thread.join(_TIMEOUT_SECONDS)

    def forget(self) -> None:
        """Drop what is queued."""
        with self._wake:
            self._queue.clear()

    def send(self, event: str, open_id: str, content: dict[str, Any]) -> None:
        """Queue one event, if a receiver is set."""
        settings = self._settings()
        if settings.webhook_url is None:
            return
        created = int(self._now())
        envelope = {
            "client_key": self._options.client_key,
            "event": event,
            "create_time": created,
            "user_openid": open_id,
            "content": json.dumps(content, separators=(",", ":")),
        }
        body = json.dumps(envelope, separators=(",", ":")).encode()
        copies = 2 if settings.webhook_duplicates else 1
        for _ in range(copies):
            delivery = _Delivery(
                settings.webhook_url, event, content.get("publish_id"), body, time.monotonic()
            )
            self._push(delivery, self._hold(settings))

    def _hold(self, settings: Settings) -> float:
        """Every other event waits, so that its successor overtakes it."""
        is_held = settings.webhook_out_of_order and next(self._order) % 2 == 0
        return settings.webhook_hold_seconds if is_held else 0.0

    def _push(self, delivery: _Delivery, pause: float) -> None:
        with self._wake:
            heapq.heappush(self._queue, (time.monotonic() + pause, next(self._ticket), delivery))
            self._wake.notify()

    def _run(self) -> None:
        while (delivery := self._next()) is not None:
            self._attempt(delivery)

    def _next(self) -> _Delivery | None:
        with self._wake:
            while not self._stopping:
                pause = self._queue[0][0] - time.monotonic() if self._queue else None
                if pause is not None and pause <= 0:
                    return heapq.heappop(self._queue)[2]
                self._wake.wait(pause)
            return None

    def _attempt(self, delivery: _Delivery) -> None:
        delivery.attempts += 1
        status = self._post(delivery)
        self._ledger.write(
            "webhook",
            event=delivery.event,
            publish_id=delivery.publish_id,
            attempt=delivery.attempts,
            status=status,
            time=self._now(),
        )
        is_late = time.monotonic() - delivery.created > _GIVE_UP_SECONDS
        if status != http.client.OK and not is_late:
            pause = self._settings().webhook_retry_seconds * 2.0 ** min(delivery.attempts - 1, 20)
            self._push(delivery, min(pause, _LONGEST_PAUSE_SECONDS))

    def _post(self, delivery: _Delivery) -> int | None:
        """Return the receiver's status, or None when there was no answer."""
        parts = urlsplit(delivery.url)
        # The real time, not the shifted one: the receiver checks the age by its own clock.
        stamp = signature(self._options.client_secret, int(time.time()), delivery.body)
        headers = {"Content-Type": "application/json", "TikTok-Signature": stamp}
        target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        # http.client follows no redirect and knows no proxy: the event stays on this machine.
        connection = http.client.HTTPConnection(
            parts.hostname or "", parts.port or 80, timeout=_TIMEOUT_SECONDS
        )
        try:
            connection.request("POST", target, delivery.body, headers)
            return connection.getresponse().status
        except (OSError, http.client.HTTPException):
            return None
        finally:
            connection.close()
