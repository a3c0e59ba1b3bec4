"""How `--dist loadfile` deals the files out: one worker takes those that open browsers, the others meet it half way.

Most tests wait for a daemon, a browser or a disk about half of their time, so `make test` runs one worker more than
there are processors. Browsers and windows bear that badly where several are opened at once: they start in seconds of
processor time and have deadlines. So they stand at one end of the queue, where the first worker begins, and files
that run long without one at the other end, where all other workers begin. What is left in the middle is short.
"""

from pathlib import Path

import pytest
from xdist.scheduler import LoadFileScheduling
from xdist.workermanage import WorkerController

_BROWSES = ("browser_stage", "session_stage", "Chromium(", "CHROMIUM", "webdriver")
_LONG_FIRST = ("crash", "e2e", "integration", "contract")


class Dealing(LoadFileScheduling):
    """The first worker takes files from the front of the queue, all others from its end."""

    def _assign_work_unit(self, node: WorkerController) -> None:
        if node.gateway.id != "gw0":
            self.workqueue.move_to_end(next(reversed(self.workqueue)), last=False)
        super()._assign_work_unit(node)


def in_order(items: list[pytest.Item]) -> list[pytest.Item]:
    """Return the tests with those that open a browser first, the long ones of the others last; files stay whole."""
    files: dict[Path, list[pytest.Item]] = {}
    for item in items:
        files.setdefault(item.path, []).append(item)
    browsing = [path for path in files if opens_browser(path)]
    others = [path for path in files if path not in set(browsing)]
    order = sorted(browsing, key=_rank) + sorted(others, key=_rank)[::-1]
    return [item for path in order for item in files[path]]


def opens_browser(path: Path) -> bool:
    """Tell whether a file's tests open one."""
    text = path.read_text()
    return any(word in text for word in _BROWSES)


def _rank(path: Path) -> int:
    folder = path.parent.name
    return _LONG_FIRST.index(folder) if folder in _LONG_FIRST else len(_LONG_FIRST)
