"""Time: the clock, new names, and the alarm."""

from adapters.scheduler.clock import RandomIds, SystemClock
from adapters.scheduler.timer import ApschedulerTimer

__all__ = ["ApschedulerTimer", "RandomIds", "SystemClock"]
