"""A bus without a core: it remembers what it was given and keeps an outbox in memory."""

import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from itertools import islice
from time import monotonic
from typing import Any

from daemon.domain.ids import NodeName
from daemon.domain.reports import MessagesSent
from daemon.domain.wire import Request
from daemon.ports import Outgoing, Publisher

DEADLINE_S = 10.0
MAIN = NodeName("main")


class FakeOutbox:
    """The part of a Unit that publishers read."""

    def __init__(self, rows: list[Outgoing], sent: set[int]) -> None:
        self._rows = rows
        self._sent = sent

    def unsent(self, after: int, limit: int) -> list[Outgoing]:
        found = (message for message in self._rows[after:] if message.row not in self._sent)
        return list(islice(found, limit))


@dataclass
class FakeBus:
    """Implements ports.Bus. `settles` says whether a request is settled as soon as it is submitted."""

    node: NodeName = MAIN
    settles: bool = True
    on_submit: Callable[[Request], None] | None = None
    on_report: Callable[[object], None] | None = None

    def __post_init__(self) -> None:
        self.requests: list[Request] = []
        self.reports: list[object] = []
        self.reads = 0
        self.publishers: list[Publisher] = []
        self._rows: list[Outgoing] = []
        self._sent: list[int] = []
        self._sent_set: set[int] = set()
        self._changed = threading.Condition(threading.RLock())

    def submit(self, request: Request) -> None:
        with self._changed:
            self.requests.append(request)
            self._changed.notify_all()
        if self.on_submit is not None:
            self.on_submit(request)
        if self.settles and request.settle is not None:
            request.settle()

    def tell(self, report: object) -> None:
        with self._changed:
            self.reports.append(report)
            if isinstance(report, MessagesSent):
                self._sent.extend(report.rows)
                self._sent_set.update(report.rows)
            self._changed.notify_all()
        if self.on_report is not None:
            self.on_report(report)

    def ask(self, report: object) -> Any:
        self.tell(report)

    def promise(self, report: object) -> "Future[Any]":
        self.tell(report)
        future: Future[Any] = Future()
        future.set_result(None)
        return future

    def read(self, query: Callable[[Any], Any]) -> Any:
        with self._changed:
            self.reads += 1
            return query(FakeOutbox(self._rows, self._sent_set))

    @property
    def sent(self) -> list[int]:
        """Return the rows reported as sent, in order."""
        with self._changed:
            return list(self._sent)

    def store(self, kind: str, address: str, payload: str, **fields: Any) -> Outgoing:
        """Store a row and offer it to all publishers."""
        return self.store_all([(kind, address, payload)], **fields)[0]

    def store_all(self, messages: Sequence[tuple[str, str, str]], **fields: Any) -> list[Outgoing]:
        """Store rows in one commit, and offer them."""
        with self._changed:
            first = len(self._rows) + 1
            found = [
                Outgoing(
                    row=first + number, transport=fields.pop("transport", ""), kind=kind,
                    address=address, payload=payload, **fields,
                )
                for number, (kind, address, payload) in enumerate(messages)
            ]  # fmt: skip
            self._rows.extend(found)
            for publisher in self.publishers:
                publisher.offer(found)
        return found

    def wait(self, look: Callable[[], Any], within_s: float = DEADLINE_S) -> Any:
        """Return the first truthy value of `look`, asked again at every change."""
        end = monotonic() + within_s
        with self._changed:
            while not (found := look()):
                assert monotonic() < end, f"not in time; {len(self.requests)} requests, {self.reports[-5:]}"
                self._changed.wait(0.05)
        return found

    def wait_for_requests(self, count: int) -> list[Request]:
        """Return the requests once there are this many."""
        self.wait(lambda: len(self.requests) >= count)
        return list(self.requests)
