"""What every job works with, and how it stops."""

import threading
from dataclasses import dataclass, field
from typing import Any, NoReturn

from daemon.domain.errors import Fault, PlatformError, StaleAttempt, StorageFull
from daemon.domain.figures import Figures
from daemon.domain.ids import AccountName, PostId
from daemon.domain.platform import StatusAnswer
from daemon.domain.policy import Policy
from daemon.domain.reports import StatusRead
from daemon.jobs.tokens import TokenDesk
from daemon.ports import Bus, Clock, MediaProbe, PlatformUploader, Vault

PASSING = frozenset({Fault.TRANSIENT, Fault.UNKNOWN_OUTCOME, Fault.RATE})  # of a read: ask again later


FULL_WAIT_S = 5.0


class Stopped(Exception):
    """The daemon is stopping: leave the post where it is; the next start goes on from the database."""


@dataclass(frozen=True, kw_only=True)
class Tools:
    """What a delivery works with."""

    bus: Bus
    clock: Clock
    vault: Vault
    media: MediaProbe
    tokens: TokenDesk
    policy: Policy
    stopping: threading.Event
    figures: Figures = field(default_factory=Figures)

    def ask_surely(self, report: object) -> Any:
        """Report what cannot be had a second time, and go on trying while the disk is full. Raises Stopped."""
        while True:
            try:
                return self.bus.ask(report)
            except StorageFull:
                self.wait(FULL_WAIT_S)

    def stop_if_asked(self) -> None:
        """Raise Stopped where the daemon is stopping."""
        if self.stopping.is_set():
            raise Stopped

    def wait(self, delay: float) -> None:
        """Wait so many seconds. Raises Stopped as soon as the daemon stops."""
        if self.stopping.wait(delay):
            raise Stopped


@dataclass(frozen=True, kw_only=True)
class RemoteStatus:
    """What the platform says of one attempt: the only thing that may be asked again and again."""

    tools: Tools
    platform: PlatformUploader
    post: PostId
    fence: int
    account: AccountName

    def read(self, publish_id: str) -> StatusAnswer:
        """Read once. Raises PlatformError."""
        return self.tools.tokens.call(
            self.platform, self.account, lambda token: self.platform.status(token, publish_id)
        )

    def read_patiently(self, publish_id: str) -> StatusAnswer:
        """Read until there is an answer. Raises the last PlatformError, or Stopped."""
        for delay in self.tools.policy.chunk_delays_s:
            self.tools.stop_if_asked()
            try:
                return self.read(publish_id)
            except PlatformError as error:
                if error.fault not in PASSING:
                    raise
                self.tools.wait(delay)
        return self.read(publish_id)

    def adopt(self, answer: StatusAnswer) -> NoReturn:
        """Hand the platform's word to the core and leave: the status reads go on from there."""
        self.tools.bus.ask(StatusRead(self.post, self.fence, answer))
        raise StaleAttempt("the platform has spoken")


def doubt(error: PlatformError) -> NoReturn:
    """Leave with what nobody can know: the core makes the post uncertain."""
    raise PlatformError(Fault.UNKNOWN_OUTCOME, error.code, error.message, status=error.status) from None
