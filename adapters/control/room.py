"""The control thread's state: who is connected, and what is done about it. One `turn` is one round of its loop."""

import json
import logging
import os
import select
import socket
import struct
from collections.abc import Callable

from adapters.control.lines import (
    Call,
    Watch,
    error_line,
    event_line,
    parse,
    reply_line,
    watching_line,
)
from adapters.control.mailbox import Answer, Mailbox, News
from adapters.control.visitor import Visitor
from daemon.domain.errors import Code, Rejected
from daemon.domain.events import as_json
from daemon.domain.wire import read_request
from daemon.ports import Bus, Clock

log = logging.getLogger("tokd.control")

TRANSPORT = "control"
MAX_VISITORS = 32
PAGE = 200
PAUSE_S = 1.0  # before accepting again where the process has no file descriptor left
_CREDENTIALS = struct.Struct("3i")  # struct ucred: pid, uid, gid


class Room:
    """Used by one thread; `has_watchers` may be read by others."""

    def __init__(self, listener: socket.socket, mailbox: Mailbox, bus: Bus, clock: Clock) -> None:
        self._listener = listener
        self._mailbox = mailbox
        self._bus = bus
        self._clock = clock
        self._visitors: dict[int, Visitor] = {}
        self._last_number = 0
        self._accept_at = clock.monotonic()
        self.has_watchers = False
        self.is_finished = False

    def turn(self) -> None:
        """Wait until something happens, and do what follows from it."""
        ready = self._poll()
        for visitor in list(self._visitors.values()):
            self._attend(visitor, ready.get(visitor.sock.fileno(), 0))
        self._take_mail()
        for visitor in list(self._visitors.values()):
            self._go_on(visitor)
        if ready.get(self._listener.fileno()):
            self._accept()
        self.has_watchers = any(visitor.position is not None for visitor in self._visitors.values())

    def close(self) -> None:
        """Send what can be sent at once, and cut all connections."""
        self.has_watchers = False
        for visitor in list(self._visitors.values()):
            self._write(visitor)
            self._drop(visitor)
        self._listener.close()

    # -- connections -------------------------------------------------------------------------------------

    def _poll(self) -> dict[int, int]:
        poll = select.poll()
        poll.register(self._mailbox.bell, select.POLLIN)
        timeout_s = None
        left_s = self._accept_at - self._clock.monotonic()
        if left_s > 0:
            timeout_s = left_s
        else:
            poll.register(self._listener, select.POLLIN)
        for visitor in self._visitors.values():
            poll.register(visitor.sock, visitor.events())
            if visitor.is_catching_up and not visitor.waiting:
                timeout_s = 0.0
        return dict(poll.poll(None if timeout_s is None else timeout_s * 1000))

    def _accept(self) -> None:
        try:
            sock, _ = self._listener.accept()
        except (BlockingIOError, ConnectionError):
            return
        except OSError as error:
            self._accept_at = self._clock.monotonic() + PAUSE_S
            log.warning("cannot take a connection: %s", error, extra={"action": "control_accept"})
            return
        self._last_number += 1
        visitor = Visitor(sock, self._last_number)
        self._visitors[visitor.number] = visitor
        refusal = self._refusal(sock)
        if refusal is not None:
            visitor.add(error_line(refusal))
            self._write(visitor)
            self._drop(visitor)

    def _refusal(self, sock: socket.socket) -> Rejected | None:
        raw = sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size)
        _, uid, _ = _CREDENTIALS.unpack(raw)
        if uid not in {0, os.geteuid()}:
            return Rejected(
                Code.FORBIDDEN,
                f"tokd runs as uid {os.geteuid()}: only that user and root may speak to it here",
            )
        if len(self._visitors) > MAX_VISITORS:
            return Rejected(Code.BUSY, f"{MAX_VISITORS} clients are connected already", retryable=True)
        return None

    def _attend(self, visitor: Visitor, ready: int) -> None:
        is_reading = bool(visitor.events() & select.POLLIN)
        if ready & select.POLLIN and is_reading:
            try:
                visitor.read()
            except OSError:
                self._drop(visitor)
                return
            self._read_lines(visitor)
        if ready & select.POLLOUT:
            self._write(visitor)
        if ready & (select.POLLHUP | select.POLLERR) and (visitor.has_ended or not is_reading):
            self._drop(visitor)

    def _go_on(self, visitor: Visitor) -> None:
        """Catch up, send, and part from those who are done or too slow."""
        if visitor.is_catching_up and not visitor.waiting:
            self._guard(visitor, lambda: self._catch_up(visitor))
        self._write(visitor)
        if visitor.is_slow:
            log.warning(
                "a watcher reads too slowly and is dropped", extra={"action": "control_drop"}
            )  # it may come again with the number of its last event
            self._drop(visitor)
        elif visitor.is_done:
            self._drop(visitor)

    def _write(self, visitor: Visitor) -> None:
        try:
            visitor.write()
        except OSError:
            self._drop(visitor)

    def _drop(self, visitor: Visitor) -> None:
        self._visitors.pop(visitor.number, None)
        visitor.sock.close()

    # -- what they want ----------------------------------------------------------------------------------

    def _read_lines(self, visitor: Visitor) -> None:
        while not visitor.is_calling:
            try:
                line = visitor.lines.take()
                if line is None:
                    return
                if line.strip():
                    self._obey(visitor, parse(line))
            except Rejected as refusal:
                visitor.add(error_line(refusal))

    def _obey(self, visitor: Visitor, wish: Call | Watch) -> None:
        if isinstance(wish, Watch):
            self._guard(visitor, lambda: self._begin_watch(visitor, wish))
            return
        number, mailbox = visitor.number, self._mailbox
        visitor.is_calling = True
        request, _ = read_request(
            actor=wish.actor,
            verb=wish.verb,
            raw=wish.raw,
            transport=TRANSPORT,
            received_at=self._clock.now(),
            is_local=True,
            answer=lambda reply: mailbox.put(Answer(number, reply)),
        )
        self._bus.submit(request)

    def _begin_watch(self, visitor: Visitor, wish: Watch) -> None:
        # First be offered everything, then look where we stand: what comes between the two comes twice,
        # and the numbers tell; the other way round it would be lost.
        self.has_watchers = True
        latest = int(self._bus.read(lambda unit: unit.last_sequence()))
        visitor.position = latest if wish.after is None else min(wish.after, latest)
        visitor.is_catching_up = visitor.position < latest
        visitor.add(watching_line(visitor.position))

    def _catch_up(self, visitor: Visitor) -> None:
        """Read one page of the past. A short one is the last: what it cannot have is in the mailbox."""
        after = visitor.position or 0
        page = self._bus.read(lambda unit: unit.events_after(after, PAGE))
        for event in page:
            visitor.add(event_line(as_json(event)))
            visitor.position = int(event["sequence"])
        visitor.is_catching_up = len(page) == PAGE

    def _guard(self, visitor: Visitor, read: Callable[[], None]) -> None:
        """Run what asks the database; its failure ends this visitor's watch, and nobody else's."""
        try:
            read()
        except Exception as error:
            log.exception("events could not be read", extra={"action": "control_watch"})
            visitor.position, visitor.is_catching_up, visitor.has_ended = None, False, True
            visitor.add(
                error_line(Rejected(Code.INTERNAL, f"events could not be read: {error}", retryable=True))
            )

    # -- what the bus says -------------------------------------------------------------------------------

    def _take_mail(self) -> None:
        for item in self._mailbox.take():
            if isinstance(item, Answer):
                self._answer(item)
            elif isinstance(item, News):
                self._tell(item)
            else:
                self.is_finished = True

    def _answer(self, item: Answer) -> None:
        visitor = self._visitors.get(item.visitor)
        if visitor is None:
            return
        visitor.add(reply_line(item.reply))
        if item.reply["final"]:
            visitor.is_calling = False
            self._read_lines(visitor)

    def _tell(self, item: News) -> None:
        sequence = int(json.loads(item.payload)["sequence"])
        line = event_line(item.payload)
        for visitor in self._visitors.values():
            if visitor.position is None or visitor.is_catching_up or sequence <= visitor.position:
                continue
            visitor.position = sequence
            visitor.add(line)
