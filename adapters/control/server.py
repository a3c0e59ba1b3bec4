"""The daemon's side of the control socket: one thread of ours, and what other threads may ask of it."""

import contextlib
import logging
import threading
from collections.abc import Sequence
from pathlib import Path

from adapters.control.mailbox import Mailbox, News, Stop
from adapters.control.place import listen
from adapters.control.room import TRANSPORT, Room
from daemon.ports import Bus, Clock, Outgoing, Supervisor

log = logging.getLogger("tokd.control")


class ControlServer:
    """Commands in; replies and live events out. Implements ports.Publisher."""

    transport = TRANSPORT
    keeps_outbox = False

    def __init__(self, path: Path, bus: Bus, clock: Clock, supervisor: Supervisor) -> None:
        self.path = path.absolute()
        self._bus = bus
        self._clock = clock
        self._supervisor = supervisor
        self._mailbox: Mailbox | None = None
        self._room: Room | None = None
        self._thread: threading.Thread | None = None
        self._inode = 0

    def start(self) -> None:
        """Make the socket and begin to serve. Raises StartRefused where another daemon answers there."""
        if self._thread is not None:
            return
        listener = listen(self.path)
        self._inode = self.path.lstat().st_ino
        self._mailbox = mailbox = Mailbox()
        self._room = room = Room(listener, mailbox, self._bus, self._clock)
        # a daemon thread: a database that hangs must not hold up the exit after stop has given up on it
        self._thread = threading.Thread(target=self._run, args=(room, mailbox), name="control", daemon=True)
        self._thread.start()

    def stop(self, deadline_s: float = 5.0) -> None:
        """Send what waits, cut all connections, remove the socket. Safe twice, and before start."""
        if self._thread is None or self._mailbox is None:
            return
        with contextlib.suppress(FileNotFoundError):
            if self.path.lstat().st_ino == self._inode:  # else another daemon has taken the place
                self.path.unlink()
        self._mailbox.put(Stop())
        self._thread.join(deadline_s)
        if self._thread.is_alive():
            log.error("the control thread did not end in time", extra={"action": "control_stop"})
        self._inode = 0

    def offer(self, messages: Sequence[Outgoing]) -> None:
        """Take the events for those who watch; replies are handed over by the bus itself."""
        room, mailbox = self._room, self._mailbox
        if room is None or mailbox is None or not room.has_watchers:
            return
        news = [News(message.payload) for message in messages if message.kind == "event" and message.payload]
        if news:
            mailbox.put(*news)

    def is_alive(self) -> bool:
        """Tell whether the thread runs."""
        return self._thread is not None and self._thread.is_alive()

    def _run(self, room: Room, mailbox: Mailbox) -> None:
        try:
            while not room.is_finished:
                room.turn()
        except BaseException as error:  # whatever it was: no dead thread goes unnoticed
            log.critical("the control thread died", exc_info=error, extra={"action": "control_death"})
            self._supervisor.died("control", error)
        finally:
            room.close()
            mailbox.close()
