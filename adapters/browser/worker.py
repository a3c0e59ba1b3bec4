"""The process of one session: made by the nursery, gone when the session is over."""

import contextlib
import ctypes
import os
import signal
from multiprocessing.connection import Connection
from pathlib import Path

from adapters.browser import launching
from adapters.browser.driver import ensure_patched
from adapters.browser.kinds import KINDS
from adapters.browser.letters import Session, Warm
from adapters.browser.mailbox import Mailbox
from adapters.browser.wrapper import ensure_wrapper
from daemon.domain.session import SessionNews

_PR_SET_PDEATHSIG = 1
_PR_SET_CHILD_SUBREAPER = 36


def work(line: Connection, locks: list[int]) -> None:
    """Do the job that comes over the line, and exit. The locks are held until then."""
    try:
        job = line.recv()
        if isinstance(job, Warm):
            _warm(job)
        elif isinstance(job, Session):
            _become_worker(job)
            _live(job, line)
    except (EOFError, OSError):
        pass  # nobody is there to be told
    finally:
        for lock in locks:
            os.close(lock)
        os._exit(0)  # nothing of this process may outlive it, and nothing in it may wait


def _warm(job: Warm) -> None:
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)  # stopped together with the nursery
    ensure_wrapper(job.settings.folder)
    if job.settings.backend == "undetected":
        ensure_patched(job.driver, job.settings.folder)


def _become_worker(job: Session) -> None:
    """Be a process of its own: own terminal session, own environment, parent of what the browser leaves behind."""
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    os.setsid()
    ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    os.environ.clear()
    os.environ.update(launching.environ(job.order, job.place, job.settings, job.browser.path))
    Path(job.place.temp_dir).mkdir(parents=True, exist_ok=True, mode=0o700)


def _live(job: Session, line: Connection) -> None:
    def tell(news: SessionNews) -> None:
        with contextlib.suppress(OSError):
            line.send(news)

    mailbox = Mailbox(line)
    mailbox.start()
    KINDS[job.order.kind](job, mailbox, tell).run()
