"""The line of what goes out: in order, at most 20 unacknowledged, bounded; the rest waits in the database."""

import logging
from collections import Counter
from collections.abc import Callable, Sequence

from adapters.mqtt.backoff import OncePer
from adapters.mqtt.inbound import TRANSPORT
from adapters.mqtt.letters import Ack, Letter, letter_of
from adapters.mqtt.line import Line
from adapters.mqtt.link import Acknowledged, Connected, Link
from daemon.domain.reports import MessagesSent
from daemon.domain.topics import Topics
from daemon.ports import Bus, Clock, Outgoing

log = logging.getLogger("tokd.mqtt")

PAGE = 100
MOST_IN_MEMORY = 1000
MOST_ANSWERS = 4000  # of a kilobyte at most, as good as all of them
MOST_OF_ONE = 2000
MOST_NAMED = 100
LONG_BURST_S = 60.0
REPORT_ROWS = 100
REPORT_AFTER_S = 0.05


class Relay:
    """Used by the gateway's thread only.

    Live: rows come by `take`. Behind: rows that come are forgotten, because all of them stand in the
    database in order, and are read from there page by page until a page is not full.
    """

    def __init__(
        self,
        bus: Bus,
        clock: Clock,
        topics: Topics,
        left: Callable[[Letter], None],
        pass_point: Callable[[str], None] = lambda _name: None,
        on_left_out: Callable[[int], None] = lambda _count: None,
    ) -> None:
        self._bus = bus
        self._clock = clock
        self._topics = topics
        self._left = left  # told of every letter that leaves
        self._pass_point = pass_point  # told of the places where a crash test may end the process
        self._on_left_out = on_left_out  # told how many answers were left out
        self._line = Line(MOST_ANSWERS, MOST_OF_ONE)
        self._left_out: Counter[str] = Counter()  # answers that were, by actor; not told yet
        self._left_out_since = 0.0
        self._in_flight: dict[int, Letter] = {}
        self._link: Link | None = None
        self._window = 0
        self._max_packet = 0
        self._is_behind = False
        self._is_last = False
        self._last_left = 0  # the last row that was handed to the network
        self._read_to = 0  # the last row that was read from the database
        self._page: dict[int, str] = {}  # rows of the last page, which may also come by `take`
        self._sent: list[int] = []
        self._report_at: float | None = None
        self._log_limit = OncePer(60.0)

    @property
    def queued(self) -> int:
        """Return how many messages are in memory, on their way included."""
        return len(self._line) + len(self._in_flight)

    @property
    def is_drained(self) -> bool:
        """Tell whether everything has arrived at the broker."""
        return not (self._line or self._in_flight or self._is_behind)

    @property
    def wants_attention_at(self) -> float | None:
        """Return the monotonic time at which `report` has something to do."""
        return self._report_at

    def connected(self, link: Link, found: Connected) -> None:
        """Begin on a new connection: what was on its way is read again from the database."""
        self._link = link
        self._window = max(1, found.window)
        self._max_packet = found.max_packet
        self._last_left = self._read_to = 0
        self._is_behind = True

    def disconnected(self) -> None:
        """Forget the line: rows stand in the database, and the acks would be wrong on a new connection."""
        self.report(force=True)
        self._link = None
        self._line.clear()
        self.tell_left_out()
        self._in_flight.clear()
        self._page = {}
        self._is_behind = False

    def take(self, messages: Sequence[Outgoing]) -> None:
        """Put messages into the line, or drop them where the database will give them again."""
        if self._link is None or self._is_last:
            return
        for message in messages:
            if message.transport not in {"", TRANSPORT}:
                continue
            if message.row and (self._is_behind or self._page.get(message.row) == message.payload):
                continue
            if message.row or message.kind == "reply" or self._line.letters <= 2 * MOST_IN_MEMORY:
                self._put(message)
        if self._line.letters > MOST_IN_MEMORY:
            self.fall_behind()

    def caught_up(self) -> None:
        """Note that what was offered before the last page was read has been taken: no more doubles."""
        self._page = {}

    def finish(self, letter: Letter) -> None:
        """Send this letter and nothing after it. Rows that have not left stay in the database."""
        self._line.end_with(letter)
        self._is_behind = False
        self._is_last = True

    def fall_behind(self) -> None:
        """Forget the rows in the line and read them from the database when their turn comes."""
        if self._link is None or self._is_behind or self._is_last:
            return
        dropped = self._line.forget_rows()
        self._is_behind = True
        self._read_to = self._last_left
        log.info("outbox does not fit into memory", extra={"action": "mqtt_behind", "rows": dropped})

    def add(self, item: Letter | Ack) -> None:
        """Put a letter of the gateway's own, an answer or an ack into the line."""
        if self._link is None:
            return
        if isinstance(item, Ack):
            self._line.put_ack(item)
        elif item.kind == "reply" and not item.row:
            self._put_answer(item)
        else:
            self._line.put(item)

    def read_page(self) -> None:
        """Take the next unsent rows from the database into the line."""
        after = self._read_to
        rows: list[Outgoing] = self._bus.read(lambda unit: unit.unsent(after, PAGE))
        self._page = {message.row: message.payload for message in rows}
        for message in rows:
            if message.transport in {"", TRANSPORT}:
                self._put(message)
        self._read_to = max([after, *self._page])
        self._is_behind = len(rows) == PAGE

    def pump(self) -> None:
        """Send as much as the window allows; read the next page when the line runs low."""
        while self._link is not None:
            if self._is_behind and self._line.letters < self._window:
                self.read_page()
            while (ack := self._line.next_ack()) is not None:
                self._acknowledge(ack)
            if len(self._in_flight) >= self._window:
                return
            letter = self._line.next_letter()
            if letter is None:
                return
            self._send(self._link, letter)

    def arrived(self, note: Acknowledged) -> None:
        """Note that the broker has a letter. A refused one counts, too: a second try would change nothing."""
        letter = self._in_flight.pop(note.mid, None)
        if letter is None:
            return
        if note.failure:
            self._complain(letter, f"the broker refused a message: {note.failure}")
        self._done(letter)

    def report(self, *, force: bool = False) -> None:
        """Tell the bus which rows have arrived, if it is time: one commit for many rows."""
        if not self._sent:
            return
        is_due = self._report_at is not None and self._clock.monotonic() >= self._report_at
        if force or is_due or len(self._sent) >= REPORT_ROWS:
            self._pass_point("outbox.before_mark")
            self._bus.tell(MessagesSent(tuple(self._sent)))
            self._sent = []
            self._report_at = None

    def tell_left_out(self) -> None:
        """Tell how many answers were left out, and whose, once a burst is over, and each minute of a long one."""
        is_over = not self._line.answers or self._clock.monotonic() >= self._left_out_since + LONG_BURST_S
        if not self._left_out or not is_over:
            return
        for actor, count in self._left_out.most_common():
            log.warning(
                "%d answers to actor %s were left out: it sends faster than it can be answered; what was not answered "
                "can be sent again with the same id",
                count,
                actor,
                extra={"action": "mqtt_left_out", "actor": actor, "count": count},
            )
        self._on_left_out(self._left_out.total())
        self._left_out.clear()

    def _put(self, message: Outgoing) -> None:
        try:
            self.add(letter_of(message, self._topics))
        except ValueError as error:
            self._drop(message.kind, message.row, str(error))

    def _put_answer(self, answer: Letter) -> None:
        actor = self._topics.asker(answer.topic)[:64]
        if self._line.put_answer(actor, answer):
            return
        if not self._left_out:
            self._left_out_since = self._clock.monotonic()
        is_named = actor in self._left_out or len(self._left_out) < MOST_NAMED
        self._left_out[actor if is_named else "(others)"] += 1

    def _send(self, link: Link, letter: Letter) -> None:
        self._last_left = max(self._last_left, letter.row)
        if letter.size > self._max_packet:
            self._drop(
                letter.kind, letter.row, f"the broker takes packets of {self._max_packet} bytes at most"
            )
            return
        if letter.kind == "event":
            self._pass_point("outbox.before_send")
        try:
            mid = link.publish(letter, self._clock.now())
        except ValueError as error:  # a topic that cannot be: it must not stop the line for ever
            self._drop(letter.kind, letter.row, str(error))
            return
        self._in_flight[mid] = letter
        self._left(letter)
        if letter.kind == "event":
            self._pass_point("outbox.after_send")

    def _acknowledge(self, ack: Ack) -> None:
        # an old id on a new connection would acknowledge another message: mqtt.md section 3.3
        if self._link is not None and ack.connection == self._link.number:
            self._link.ack(ack.mid, ack.qos)

    def _drop(self, kind: str, row: int, why: str) -> None:
        letter = Letter(kind=kind, topic="", payload=b"", row=row)
        self._complain(letter, f"a message cannot be sent and is left out: {why}")
        self._done(letter)

    def _complain(self, letter: Letter, text: str) -> None:
        if self._log_limit.allows(letter.kind, self._clock.monotonic()):
            log.error(
                text,
                extra={
                    "action": "mqtt_publish",
                    "kind": letter.kind,
                    "row": letter.row,
                    "topic": letter.topic,
                },
            )

    def _done(self, letter: Letter) -> None:
        if not letter.row:
            return
        self._sent.append(letter.row)
        if self._report_at is None:
            self._report_at = self._clock.monotonic() + REPORT_AFTER_S
