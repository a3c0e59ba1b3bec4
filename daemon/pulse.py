"""The daemon's pulse: the main thread looks at every essential loop, and tells the service manager how things stand.

The watchdog is fed only while all of them turn. What goes wrong outside (a broker that is down, TikTok that does not
answer) is told in the status and is no reason to be restarted: a restart would not mend it.
"""

import logging
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Any

from daemon.domain.reports import HealthWanted
from daemon.ports import Bus, Clock, ServiceManager

LOG = logging.getLogger("tokd.pulse")
STATUS_EVERY_S = 30.0
START_STEP_S = 90.0
# Seconds without a turn after which a loop is said to hang, and the watchdog is not fed any more.
BUS_S, HTTP_S, WORKERS_S = 30.0, 30.0, 30.0
MQTT_S = 90.0  # looking up the broker's name may take that long
TIMER_S = 90.0  # it sleeps for up to 30 s
# So long after the watchdog's signal the stacks are printed all the same: then its handler has not come to run.
LAST_WORDS_S = 5.0


@dataclass(frozen=True)
class _Loop:
    """A loop that the daemon cannot do without: the monotonic time of its last turn, and seconds it may take."""

    last_beat: Callable[[], float]
    limit_s: float


class Pulse:
    """Owned by the main thread; nothing here waits for another one."""

    def __init__(
        self, manager: ServiceManager, clock: Clock, print_stacks_later: Callable[[float], None]
    ) -> None:
        self._manager = manager
        self._clock = clock
        self._print_stacks_later = print_stacks_later
        self._loops: dict[str, _Loop] = {}
        self._bus: Bus | None = None
        self._wake: Callable[[], None] = lambda: None
        self._answer: Future[Any] | None = None
        self._status = ""
        self._next_at = 0.0
        self._late: frozenset[str] = frozenset()

    def watch(self, name: str, last_beat: Callable[[], float], limit_s: float) -> None:
        """Look at this loop, too: `last_beat` returns the monotonic time of its last turn. Before the start."""
        self._loops[name] = _Loop(last_beat, limit_s)

    def join(self, bus: Bus, last_beat: Callable[[], float], wake: Callable[[], None]) -> None:
        """Take the bus, which knows how things stand, and what wakes the main thread when it has answered."""
        self._bus, self._wake = bus, wake
        # Asked for the status at every turn of ours, it turns at least as often.
        self.watch("bus", last_beat, min(BUS_S, self._manager.watchdog_s or BUS_S))

    @property
    def every_s(self) -> float | None:
        """Return how often the main thread should come by; None where nobody listens."""
        if not self._manager.is_listening:
            return None
        period = self._manager.watchdog_s
        return STATUS_EVERY_S if period is None else min(STATUS_EVERY_S, period / 2)

    def starting(self, what: str) -> None:
        """Say what the start is at. Each part gets its own time: a migration may take long, a hang may not."""
        self._manager.starting(what, START_STEP_S)

    def ready(self) -> None:
        """Say that the daemon is ready."""
        self._manager.ready(self._status or "ready")

    def reloading(self) -> None:
        """Say that the settings are read anew."""
        self._manager.reloading()

    def stopping(self) -> None:
        """Say that the daemon stops."""
        self._manager.stopping()

    def turn(self) -> float | None:
        """Feed the watchdog and tell the status, when it is time; return the seconds until the next turn."""
        every_s = self.every_s
        if every_s is None:
            return None
        self._tell_answer()
        now = self._clock.monotonic()
        if now >= self._next_at:
            self._next_at = now + every_s
            if not self._note_late(self.late()):
                self._manager.alive()
                if self._manager.watchdog_s is not None:
                    self._print_stacks_later(self._manager.watchdog_s + LAST_WORDS_S)
            self._ask()
        return max(0.0, self._next_at - self._clock.monotonic())

    def late(self) -> dict[str, float]:
        """Return the loops that have not turned in time, with the seconds since they did."""
        now = self._clock.monotonic()
        ages = {name: now - loop.last_beat() for name, loop in self._loops.items()}
        return {name: age for name, age in ages.items() if age > self._loops[name].limit_s}

    def _note_late(self, late: Mapping[str, float]) -> bool:
        names = frozenset(late)
        if names - self._late:
            told = ", ".join(f"{name} for {age:.0f} s" for name, age in late.items())
            LOG.critical("hanging: %s; the watchdog is not fed until it turns again", told)
        self._late = names
        if names:
            self._status = f"hanging: {', '.join(sorted(names))}"
            self._manager.status(self._status)
        return bool(names)

    def _ask(self) -> None:
        # One question at a time: a bus that hangs must not find hundreds of them. Asking also makes an idle bus turn.
        if self._bus is None or self._answer is not None:
            return
        self._answer = self._bus.promise(HealthWanted())
        self._answer.add_done_callback(lambda _future: self._wake())

    def _tell_answer(self) -> None:
        if self._answer is None or not self._answer.done():
            return
        answer, self._answer = self._answer, None
        if answer.exception() is None and (status := status_line(answer.result())) != self._status:
            self._status = status
            self._manager.status(status)


def status_line(view: Mapping[str, Any]) -> str:
    """Return the health answer in one line. In safe mode that is why, and what to do."""
    if safe := view.get("safe_mode"):
        return f"safe mode: {safe}"
    posts = ", ".join(f"{count} {state}" for state, count in view["posts"].items() if count)
    troubles = ", ".join(view["degraded"])
    return f"{view['phase']}{f' ({troubles})' if troubles else ''}; posts: {posts or 'none'}"
