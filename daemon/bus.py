"""The bus: one thread that takes commands and reports in order and is the database's only writer.

What waits is taken together and committed together; replies, events, acknowledgements and new work follow the
commit, in that order. A handler that fails takes nobody with it: the batch is rolled back and run again one by one.
"""

import json
import logging
import queue
import threading
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from daemon import chronicle, failpoints
from daemon.domain.errors import Code, Rejected, StaleAttempt, StorageFailed, StorageFull
from daemon.domain.ids import AccountName, NodeName, PostId, TaskId
from daemon.domain.replies import refused
from daemon.domain.reports import ClockTicked, CommandUndone, StatesTouched
from daemon.domain.wire import Request
from daemon.domain.work import Deliver, FetchMedia, InspectMedia, UnlinkTokens, Withdraw, Work
from daemon.handlers.auditing import is_worth_noting
from daemon.handlers.context import Context, Rules
from daemon.handlers.registry import REPORTS
from daemon.intake import Batch, Intake, RolledBack, Tried, direct_reply
from daemon.ports import Clock, Publisher, Store, StoredCommand, Supervisor, Timer, Unit
from daemon.worker import supervised_thread

LOG = logging.getLogger("tokd.bus")
BATCH = 256
QUIET_S = 10.0
TOUCH_S = 1.0  # changes within this time are told in one retained state
_LONG_AGO = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class _Report:
    report: object
    future: "Future[Any] | None" = None


@dataclass(frozen=True, slots=True)
class _Query:
    query: Callable[[Unit], Any]
    future: "Future[Any]"


@dataclass(frozen=True, slots=True)
class _WorkEnded:
    work: Work


_Item = Request | _Report | _Query | _WorkEnded


class CoreBus:
    """Implements the Bus port. Everything below `_run` happens in its one thread."""

    def __init__(
        self, store: Store, clock: Clock, timer: Timer, rules: Rules, supervisor: Supervisor,
        start_work: Callable[[Work], None],
    ) -> None:  # fmt: skip
        self.node: NodeName = rules.node
        self._store = store
        self._clock = clock
        self._timer = timer
        self._rules = rules
        self._supervisor = supervisor
        self._start_work = start_work
        self._intake = Intake(rules)
        self._publishers: list[Publisher] = []
        self._queue: queue.SimpleQueue[_Item | None] = queue.SimpleQueue()
        self._driving: dict[PostId, int] = {}  # with the fence of its worker
        self._armed: datetime | None = None
        self._touched: set[AccountName] = set()  # accounts whose retained states are behind
        self._daemon_touched = False
        self._touched_at: float | None = None  # when the first of them was
        self._thread = supervised_thread("bus", self._run, supervisor)
        self._opened = threading.Event()
        self._failure: BaseException | None = None
        self.last_beat = clock.monotonic()

    # -- from any thread ---------------------------------------------------------------------------------

    def add_publisher(self, publisher: Publisher) -> None:
        """Offer commits to this publisher from now on. Call before start."""
        self._publishers.append(publisher)

    def start(self) -> None:
        """Open the store in the bus thread and begin. Raises what the store raised."""
        self._thread.start()
        self._opened.wait()
        if self._failure is not None:
            self._thread.join()
            raise self._failure

    def stop(self, deadline_s: float) -> bool:
        """Work off what is queued, close the store, join; return whether it ended. Safe twice, and before start."""
        if self._thread.is_alive():
            self._queue.put(None)
            self._thread.join(deadline_s)
        return not self._thread.is_alive()

    def refuse_new_work(self) -> None:
        """Answer durable commands with `shutting_down` from now on."""
        self._intake.is_draining = True

    def submit(self, request: Request) -> None:
        """Queue a caller's message. Never blocks."""
        self._queue.put(request)

    def tell(self, report: object) -> None:
        """Queue a report and go on."""
        self._queue.put(_Report(report))

    def ask(self, report: object) -> Any:
        """Queue a report, wait for its commit, return its handler's answer or raise what it raised."""
        future: Future[Any] = Future()
        self._queue.put(_Report(report, future))
        return self._wait(future)

    def promise(self, report: object) -> "Future[Any]":
        """Queue a report; the future has its handler's answer after the commit, or what it raised. Never blocks."""
        future: Future[Any] = Future()
        future.set_running_or_notify_cancel()  # whoever gives up waiting must not make the bus's answer an error
        self._queue.put(_Report(report, future))
        return future

    def read(self, query: Callable[[Unit], Any]) -> Any:
        """Run a query in the bus thread and return its result."""
        future: Future[Any] = Future()
        self._queue.put(_Query(query, future))
        return self._wait(future)

    def work_ended(self, work: Work) -> None:
        """Note that a worker is through with this; called by the worker pool for all work, however it ended."""
        self._queue.put(_WorkEnded(work))

    def _wait(self, future: "Future[Any]") -> Any:
        while True:
            try:
                return future.result(timeout=1)
            except TimeoutError:
                if future.done():
                    return future.result()  # it came between the time-out and this look
                if not self._thread.is_alive():
                    raise StorageFailed("the bus has stopped") from None

    # -- the bus thread ----------------------------------------------------------------------------------

    def _run(self) -> None:
        try:
            self._store.open()
        except BaseException as error:  # noqa: BLE001 - handed to start(), which raises it
            self._failure = error
            return
        finally:
            self._opened.set()
        try:
            if self._rules.safe_mode is None:
                self._restart_commands()
            while self._take_turn():
                pass
        finally:
            self._store.close()

    def _take_turn(self) -> bool:
        self.last_beat = self._clock.monotonic()
        try:
            items = [self._queue.get(timeout=self._patience())]
        except queue.Empty:
            self._tell_touched()
            return True
        while len(items) < BATCH:
            try:
                items.append(self._queue.get_nowait())
            except queue.Empty:
                break
        live = [item for item in items if item is not None]
        if live:
            self._process(live)
        self._tell_touched()
        return len(live) == len(items)

    def _patience(self) -> float:
        if self._touched_at is None:
            return QUIET_S
        return min(QUIET_S, max(0.0, self._touched_at + TOUCH_S - self._clock.monotonic()))

    def _tell_touched(self) -> None:
        if self._touched_at is None or self._clock.monotonic() < self._touched_at + TOUCH_S:
            return
        report = StatesTouched(frozenset(self._touched), self._daemon_touched)
        self._touched_at, self._daemon_touched = None, False
        self._touched.clear()
        self._queue.put(_Report(report))

    def _process(self, items: Sequence[_Item]) -> None:
        try:
            batch = self._transact(items)
        except StorageFailed:
            raise
        except Exception as error:  # noqa: BLE001 - one by one finds the culprit
            if len(items) > 1:
                self._intake.undone()
                for item in items:
                    self._process([item])
            else:
                self._refuse(items[0], error.error if isinstance(error, RolledBack) else error)
        else:
            self._after_commit(batch)

    def _transact(self, items: Sequence[_Item]) -> Batch:
        batch = Batch()
        self._intake.begin()
        ended = [item.work for item in items if isinstance(item, _WorkEnded)]
        if len(ended) < len(items):
            now = self._clock.now()
            with self._store.transaction() as unit:
                context = Context(unit=unit, now=now, rules=self._rules, driving=frozenset(self._driving))
                for item in items:
                    self._dispatch(item, context, batch)
                batch.outgoing.extend(context.outgoing)
                batch.works.extend(context.works)
                batch.follow_ups.extend(context.follow_ups)
                batch.tallies.extend(context.tallies)
                batch.touched, batch.touches_daemon = context.touched, context.touches_daemon
                next_wake = self._next_wake(context, batch)
                _pass_failpoints(batch, "before_commit")
            _pass_failpoints(batch, "after_commit")
            if next_wake != self._armed:
                self._armed = next_wake
                self._timer.arm(next_wake)
        for work in ended:
            if isinstance(work, Deliver):
                if self._driving.get(work.post) == work.fence:  # else a new worker has it already
                    del self._driving[work.post]
                batch.follow_ups.append(ClockTicked())  # its account is free again
        return batch

    def _next_wake(self, context: Context, batch: Batch) -> datetime | None:
        """Return when the clock must ring next; what is due already is looked at right after this commit."""
        if not context.wants_clock and not batch.has_claims:
            return self._sooner(context, batch)
        earliest = context.unit.next_wake(_LONG_AGO)
        if earliest is None or earliest > context.now:
            return earliest
        if context.wants_clock or _is_due(context):
            batch.follow_ups.append(ClockTicked())
        return context.unit.next_wake(context.now)

    def _sooner(self, context: Context, batch: Batch) -> datetime | None:
        at = context.rings_at
        if _is_due(context):
            batch.follow_ups.append(ClockTicked())
            return self._armed
        if at is None or (self._armed is not None and self._armed <= at):
            return self._armed
        return at

    def _dispatch(self, item: _Item, context: Context, batch: Batch) -> None:
        match item:
            case Request():
                self._intake.take(item, context, batch)
            case _Report(report, future):
                context.request = context.stored = context.row = None
                result = REPORTS[type(report)](report, context)
                batch.has_claims = batch.has_claims or isinstance(report, ClockTicked)
                if future is not None:
                    batch.results.append((future, result))
                self._intake.deliver_answers(context, batch)
            case _Query(query, future):
                batch.results.append((future, query(context.unit)))
            case _WorkEnded():
                pass

    def _after_commit(self, batch: Batch) -> None:
        self._intake.committed(batch)
        for what, labels in batch.tallies:
            self._rules.figures.count(what, *labels)
        self._publish(batch)
        if batch.touched or batch.touches_daemon:
            self._touched |= batch.touched
            self._daemon_touched |= batch.touches_daemon
            if self._touched_at is None:
                self._touched_at = self._clock.monotonic()
        for settle in batch.settles:
            settle()
        for future, result in batch.results:
            future.set_result(result)
        for work in batch.works:
            if isinstance(work, Deliver):
                self._driving[work.post] = work.fence
            self._start_work(work)
        for report in dict.fromkeys(batch.follow_ups):
            self._queue.put(_Report(report))

    def _publish(self, batch: Batch) -> None:
        for publisher in self._publishers:
            mine = [message for message in batch.outgoing if message.transport in {"", publisher.transport}]
            if mine:
                publisher.offer(mine)
        for answer, reply in batch.answers:
            answer(self._intake.redacted(reply))
        chronicle.note(batch.outgoing)
        if batch.has_commands:
            failpoints.hit("inbox.after_reply")

    # -- what went wrong ---------------------------------------------------------------------------------

    def _refuse(self, item: _Item, error: BaseException) -> None:
        """Answer an item whose transaction was rolled back; nothing of it has happened."""
        match item:
            case Request():
                self._refuse_request(item, error)
            case _Report(_, future) | _Query(_, future) if future is not None:
                future.set_exception(error)
            case _Report(report, _) if not isinstance(error, StaleAttempt):
                LOG.error("report %s failed", type(report).__name__, exc_info=error)

    def _refuse_request(self, request: Request, error: BaseException) -> None:
        if isinstance(error, Tried):
            self._answer_undone(request, {"status": "done", "result": {"dry_run": True, **error.result}})
            return
        if isinstance(error, Rejected):
            refusal = error
        elif isinstance(error, StorageFull):
            refusal = Rejected(Code.BUSY, str(error), retryable=True, retry_after_s=30)
        else:
            LOG.error("command %s of %s failed", request.verb, request.actor, exc_info=error)
            refusal = Rejected(
                Code.INTERNAL, "tokd failed on this command; its log says more", retryable=True
            )
        if not isinstance(error, StorageFull) and is_worth_noting(request, refusal.code):
            self.tell(CommandUndone(request, refusal))
        self._answer_undone(request, refused(refusal))

    def _answer_undone(self, request: Request, body: Mapping[str, Any]) -> None:
        reply = self._intake.reply(request.id, request.verb, self._clock.now(), body)
        if request.answer is not None:
            request.answer(self._intake.redacted(reply))
        elif request.reply_to:
            for publisher in self._publishers:
                if publisher.transport == request.transport:
                    publisher.offer([direct_reply(request, reply, self._rules.redact)])
        if request.settle is not None:
            request.settle()

    def _restart_commands(self) -> None:
        """Go on with the commands that were accepted before a crash and never answered."""
        with self._store.transaction() as unit:
            found = unit.open_commands()
            works = [work for stored in found if (work := _work_of(stored, unit)) is not None]
        self._intake.resumed(found)
        for work in works:
            self._start_work(work)


def _is_due(context: Context) -> bool:
    return context.rings_at is not None and context.rings_at <= context.now


def _pass_failpoints(batch: Batch, place: str) -> None:
    if batch.has_commands:
        failpoints.hit(f"inbox.{place}")
    if any(isinstance(work, Deliver) and not work.resume for work in batch.works):
        failpoints.hit(f"claim.{place}")


def _work_of(stored: StoredCommand, unit: Unit) -> Work | None:
    args = json.loads(stored.body).get("args", {})
    match stored.verb:
        case "post/schedule":
            if args.get("media") is None:
                return FetchMedia(stored.row, args["url"])
            account = unit.account(args["account"])
            return InspectMedia(stored.row, args["media"], account.platform if account else "tiktok")
        case "task/post":
            task = unit.task(TaskId(args["task"]))
            if task is not None and not task.output.video_path:
                return FetchMedia(stored.row, task.output.video_url or "")
            return InspectMedia(stored.row, (task.output.video_path if task else None) or "", "tiktok")
        case "account/unlink":
            return UnlinkTokens(stored.row, AccountName(args["account"]))
        case "post/cancel":
            return Withdraw(stored.row, PostId(args["post"]))
    return None
