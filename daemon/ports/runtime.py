"""What the core needs of the process it runs in: time, names, the alarm clock, its own bus."""

from collections.abc import Callable
from concurrent.futures import Future
from datetime import datetime
from typing import Any, Protocol

from daemon.domain.ids import NodeName, PostId, SessionId, TaskId
from daemon.domain.wire import Request
from daemon.ports.ledger import Unit


class Clock(Protocol):
    """Time, passed in so that a test can hold it."""

    def now(self) -> datetime:
        """Return the instant, aware, in UTC."""

    def monotonic(self) -> float:
        """Return seconds that never go back."""


class Ids(Protocol):
    """New names."""

    def post(self) -> PostId:
        """Return a new post id, `p_` and letters."""

    def task(self) -> TaskId:
        """Return a new task id, `t_` and letters."""

    def session(self) -> SessionId:
        """Return a new session id: 16 lower-case hexadecimal digits, safe in any path and topic."""

    def token(self) -> str:
        """Return a new token id, `t_` and 16 hexadecimal digits. It is a name, no secret."""

    def boot(self) -> str:
        """Return a short random word for this start."""


class Timer(Protocol):
    """The alarm clock: one date, waits capped, so that a suspend or a clock step cannot oversleep."""

    def start(self, wake: Callable[[], None], sweep: Callable[[], None]) -> None:
        """Call `wake` at the armed date and at least every 30 s, `sweep` every few minutes; both return fast."""

    def arm(self, at: datetime | None) -> None:
        """Replace the date. Safe from any thread."""

    def stop(self) -> None:
        """Stop calling. Safe twice, and before start."""


class Supervisor(Protocol):
    """Who is told that an essential part has died."""

    def died(self, part: str, error: BaseException) -> None:
        """Stop the daemon with exit code 70."""


class ServiceManager(Protocol):
    """Who has started the daemon and wants to know how it does, such as systemd. No call raises or waits."""

    watchdog_s: float | None  # how long it goes without a sign of life before it restarts the daemon

    @property
    def is_listening(self) -> bool:
        """Tell whether there is anybody to tell."""

    def starting(self, what: str, within_s: float) -> None:
        """Say what the start is at, and that it may take so many seconds from now."""

    def ready(self, status: str) -> None:
        """Say that the daemon does its work, be it after the start or after a reload."""

    def status(self, status: str) -> None:
        """Say in one line how things stand."""

    def alive(self) -> None:
        """Feed the watchdog."""

    def reloading(self) -> None:
        """Say that the settings are read anew; `ready` ends it."""

    def stopping(self) -> None:
        """Say that the daemon is on its way out."""


class Bus(Protocol):
    """The one owner of state, as adapters and workers see it."""

    node: NodeName

    def submit(self, request: Request) -> None:
        """Queue a caller's message; `request.settle` is called when it may be acknowledged. Never blocks."""

    def tell(self, report: object) -> None:
        """Queue a report and go on."""

    def ask(self, report: object) -> Any:
        """Queue a report, wait for its commit, return its handler's answer or raise what it raised."""

    def promise(self, report: object) -> "Future[Any]":
        """Queue a report; the future has its handler's answer after the commit, or what it raised. Never blocks.

        It cannot be cancelled, and it stays open where the bus ends first: wait with a limit.
        """

    def read(self, query: Callable[[Unit], Any]) -> Any:
        """Run a query in the bus thread and return its result."""
