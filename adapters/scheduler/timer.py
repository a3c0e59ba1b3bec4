"""The alarm clock, on APScheduler: it says when to look, never what is due. The truth is in the database."""

import logging
import threading
import time
from collections import deque
from collections.abc import Callable
from datetime import UTC, datetime

from apscheduler.executors.debug import DebugExecutor
from apscheduler.jobstores.base import JobLookupError
from apscheduler.jobstores.memory import MemoryJobStore
from apscheduler.schedulers.background import BackgroundScheduler
from apscheduler.triggers.date import DateTrigger
from apscheduler.triggers.interval import IntervalTrigger

from daemon.domain.errors import AdapterFailed

_log = logging.getLogger(__name__)
_DATE = "due"
_JUMP_S = 2.0


class ApschedulerTimer:
    """One date, one wake-up at least every `cap_s`, one sweep every `sweep_s` (daemon.ports.Timer).

    The calls come from the scheduler's own thread and must return fast: they post to a queue.
    """

    def __init__(
        self, sweep_s: float = 300, cap_s: float = 30, on_jump: Callable[[], None] = lambda: None
    ) -> None:
        self._sweep_s = sweep_s
        self._cap_s = cap_s
        self._on_jump = on_jump
        self._lock = threading.Lock()
        self._at: datetime | None = None
        self._wake: Callable[[], None] | None = None
        self._scheduler: _CappedScheduler | None = None

    def start(self, wake: Callable[[], None], sweep: Callable[[], None]) -> None:
        """Begin to call. Raises AdapterFailed if it runs already, or no thread can be had."""
        with self._lock:
            if self._scheduler is not None:
                raise AdapterFailed("the timer runs already")
            self._wake = wake
            scheduler = _CappedScheduler(self._cap_s, self._on_jump)
            scheduler.ring_every(self._cap_s, wake)
            scheduler.ring_every(self._sweep_s, sweep)
            try:
                scheduler.start()
            except RuntimeError as error:
                raise AdapterFailed(f"the timer cannot start: {error}") from error
            self._scheduler = scheduler
            self._set(scheduler)

    def arm(self, at: datetime | None) -> None:
        """Replace the date; one in the past calls at once. Safe from any thread, before start and after stop.

        Raises ValueError for a time without a zone.
        """
        if at is not None and at.tzinfo is None:
            raise ValueError(f"{at} has no zone: an alarm needs an instant")
        with self._lock:
            if at == self._at:
                return
            self._at = at
            if self._scheduler is not None:
                self._set(self._scheduler)

    def stop(self) -> None:
        """Stop calling. Safe twice, and before start. Not to be called from `wake` or `sweep`."""
        with self._lock:
            scheduler, self._scheduler = self._scheduler, None
            self._at = None
        if scheduler is not None:
            scheduler.shutdown()  # outside the lock: it joins a thread that may want the lock

    @property
    def last_beat(self) -> float:
        """Return the monotonic time at which its thread has last looked at the clock; now, where there is none."""
        scheduler = self._scheduler
        return time.monotonic() if scheduler is None else scheduler.last_beat

    def _set(self, scheduler: "_CappedScheduler") -> None:
        at = self._at
        if at is None:
            scheduler.ring_never()
        else:
            scheduler.ring_at(at, lambda: self._reached(at))

    def _reached(self, at: datetime) -> None:
        with self._lock:
            if self._at == at:
                self._at = None  # so that arming the same date again is not taken for no change
            wake = self._wake
        if wake is not None:
            wake()


class _CappedScheduler(BackgroundScheduler):  # type: ignore[misc]  # the library has no types
    """Looks at the wall clock at least every `cap_s`, and makes its calls outside its own lock.

    The library computes one monotonic wait from the wall clock, so after a suspend or a clock step it sleeps
    on for as long as it once meant to. It also runs jobs while it holds its lock: a call that arms the timer
    would then wait for a thread that waits for it, or see its new job removed with the old one.
    """

    def __init__(self, cap_s: float, on_jump: Callable[[], None]) -> None:
        super().__init__(
            timezone=UTC,
            jobstores={"default": MemoryJobStore()},
            executors={"default": DebugExecutor()},  # runs in the scheduler's own thread
            job_defaults={"misfire_grace_time": None, "coalesce": True, "max_instances": 1},
        )
        self._cap_s = cap_s
        self._on_jump = on_jump
        self._offset: float | None = None
        self.last_beat = time.monotonic()
        self._rung: deque[Callable[[], None]] = deque()

    def ring_every(self, seconds: float, call: Callable[[], None]) -> None:
        """Make the call at this interval."""
        self.add_job(self._rung.append, IntervalTrigger(seconds=seconds, timezone=UTC), [call])

    def ring_at(self, at: datetime, call: Callable[[], None]) -> None:
        """Make the call at this instant, in place of an earlier date."""
        trigger = DateTrigger(at.astimezone(UTC), timezone=UTC)
        self.add_job(self._rung.append, trigger, [call], id=_DATE, replace_existing=True)

    def ring_never(self) -> None:
        """Forget the date."""
        try:
            self.remove_job(_DATE)
        except JobLookupError:
            return  # it has just been reached, or there was none

    def _process_jobs(self) -> float:
        self.last_beat = time.monotonic()
        self._notice_jump()
        self._mend_intervals()
        wait_s = super()._process_jobs()
        while self._rung:
            call = self._rung.popleft()
            try:
                call()
            except Exception:  # noqa: BLE001 - one failed call must not end the thread that all others need
                _log.exception("a call of the timer failed")
        return self._cap_s if wait_s is None else min(wait_s, self._cap_s)

    def _notice_jump(self) -> None:
        """Tell where the wall clock and the time since the start have parted: a step of the clock, or a sleep."""
        offset = datetime.now(UTC).timestamp() - time.monotonic()
        if self._offset is not None and abs(offset - self._offset) > _JUMP_S:
            _log.warning("the clock has jumped by %.1f s", offset - self._offset)
            self._on_jump()
        self._offset = offset

    def _mend_intervals(self) -> None:
        """Bring interval jobs back after a step of the wall clock.

        Set back, they would wait for the old time; set forward by years (a board without a battery), the
        library would count through every interval that was left out.
        """
        now = datetime.now(UTC)
        for job in self.get_jobs():
            if (
                isinstance(job.trigger, IntervalTrigger)
                and abs(job.next_run_time - now) > job.trigger.interval
            ):
                job.modify(next_run_time=now)
