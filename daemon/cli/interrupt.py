"""Ctrl-C as an order instead of an exception: the first one does something, and the program goes on."""

import signal
from collections.abc import Callable
from types import FrameType, TracebackType
from typing import Self


class Interrupt:
    """While it is entered, the first Ctrl-C calls `answer`; the second one is as always.

    No exception: one that falls into the clean-up of a generator would be printed and lost.
    """

    def __init__(self, answer: Callable[[], object]) -> None:
        self.is_pressed = False
        self._answer = answer
        self._before = signal.getsignal(signal.SIGINT)

    def __enter__(self) -> Self:
        if self._before is not signal.SIG_IGN:  # as for a command that a shell has put in the background
            signal.signal(signal.SIGINT, self._note)
        return self

    def __exit__(
        self, _kind: type[BaseException] | None, _error: BaseException | None, _trace: TracebackType | None
    ) -> None:
        signal.signal(signal.SIGINT, self._before)

    def _note(self, _number: int, _frame: FrameType | None) -> None:
        signal.signal(signal.SIGINT, self._before)
        self.is_pressed = True
        self._answer()
