"""The daemon's life: start is a list, stop is that list backwards; every step guarded, one shared deadline."""

import logging
import os
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

from daemon.domain.errors import StartRefused
from daemon.pulse import Pulse
from daemon.signals import Bell, stop_on_signals

LOG = logging.getLogger("tokd.app")
STOP_S = 20.0
LINGER_S = 2.0
EXIT_OK = 0
EXIT_FAILED = 70
EXIT_REFUSED = 78


@dataclass(frozen=True)
class Step:
    """One part: how it starts, and how it stops within the seconds it is given (False: it did not)."""

    name: str
    start: Callable[[], None]
    stop: Callable[[float], bool | None]


class App:
    """Starts the parts, waits, stops them. Also the Supervisor: told of a part's death, it ends the daemon."""

    def __init__(
        self, stopping: threading.Event, pulse: Pulse | None = None, reload: Callable[[], None] | None = None
    ) -> None:
        """`pulse` tells the service manager how things stand; `reload` is called for a SIGHUP, in the main thread."""
        self.steps: list[Step] = []
        self._stopping = stopping
        self._pulse = pulse
        self._reload = reload
        self._reloading = threading.Event() if reload is not None else None
        self._deaths: list[str] = []
        self._bell: Bell | None = None

    def died(self, part: str, error: BaseException) -> None:
        """Stop the daemon with exit code 70. Safe from any thread."""
        LOG.critical("%s died: %s", part, error, exc_info=error)
        self._deaths.append(part)
        self.stop()

    def stop(self) -> None:
        """Stop the daemon, as a signal does. Safe from any thread."""
        self._stopping.set()
        self.wake()

    def wake(self) -> None:
        """Let the main thread look round. Safe from any thread."""
        if self._bell is not None:
            self._bell.ring()

    def run(self, on_ready: Callable[[], None]) -> int:
        """Start everything, wait for a signal or a death, stop everything; return the exit code."""
        started: list[Step] = []
        code = EXIT_OK
        with stop_on_signals(self._stopping, self._reloading) as self._bell:
            try:
                for step in self.steps:
                    if self._stopping.is_set():
                        break
                    if self._pulse is not None:
                        self._pulse.starting(step.name)
                    started.append(step)
                    step.start()
                else:
                    on_ready()
                    if self._pulse is not None:
                        self._pulse.ready()
                while not self._stopping.is_set():
                    self._reload_if_asked()
                    self._bell.wait(self._pulse.turn() if self._pulse is not None else None)
            except StartRefused as error:
                LOG.error("not started: %s", error)  # noqa: TRY400 - the sentence is all a person needs
                code = EXIT_REFUSED
            except Exception:
                LOG.exception("the start failed")
                code = EXIT_FAILED
            self._stopping.set()
            if self._pulse is not None:
                self._pulse.stopping()
            stopped = self._stop(started)
        if self._deaths or not stopped:
            return EXIT_FAILED
        return code

    def _reload_if_asked(self) -> None:
        if self._reloading is None or self._reload is None or not self._reloading.is_set():
            return
        self._reloading.clear()
        if self._pulse is not None:
            self._pulse.reloading()
        self._reload()
        if self._pulse is not None:
            self._pulse.ready()

    def _stop(self, started: list[Step]) -> bool:
        deadline = time.monotonic() + STOP_S
        is_clean = True
        for step in reversed(started):
            try:
                done = step.stop(max(0.5, deadline - time.monotonic()))
            except Exception:
                LOG.exception("%s did not stop cleanly", step.name)
                done = False
            if done is False:
                LOG.error("%s did not stop in time", step.name)
                is_clean = False
        return is_clean


def leave_hanging_threads(code: int) -> None:
    """End the process here where a part's thread does not end: Python would wait for it for ever."""
    deadline = time.monotonic() + LINGER_S
    others = [thread for thread in threading.enumerate() if thread is not threading.main_thread()]
    for thread in (thread for thread in others if not thread.daemon):
        thread.join(max(0.0, deadline - time.monotonic()))
    hanging = [thread.name for thread in others if not thread.daemon and thread.is_alive()]
    if hanging:
        LOG.error("ending without %s: it does not stop", ", ".join(hanging))
        logging.shutdown()
        sys.stdout.flush()
        os._exit(code or EXIT_FAILED)
