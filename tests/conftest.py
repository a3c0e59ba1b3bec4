"""How the whole suite runs: how many at a time, in which order, no garbage collection of the tests themselves."""

import gc
import os
import sys
from typing import Any

import pytest

# Some two hundred daemons are started: where the tree can be written to, only the first has to compile it.
sys.dont_write_bytecode = False
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_auto_num_workers() -> int:
    """Return one worker more than there are processors: about half of the time a test waits for another process."""
    return len(os.sched_getaffinity(0)) + 1


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> object:
    """Deal files out as tests/dealing.py says."""
    if config.getvalue("dist") != "loadfile":
        return None
    from tests.dealing import Dealing

    return Dealing(config, log)


@pytest.hookimpl(trylast=True)
def pytest_configure(config: pytest.Config) -> None:
    """Let the order below be that of `--dist loadfile`, which begins with the files of most tests otherwise."""
    if hasattr(config.option, "loadscopereorder"):
        config.option.loadscopereorder = False


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Put the files into the order in which the workers take them."""
    if hasattr(config, "workerinput"):
        from tests.dealing import in_order

        items[:] = in_order(items)


def pytest_collection_finish() -> None:
    """Thousands of tests never become garbage, and each full collection would look at them for a third of a second."""
    gc.collect()
    gc.freeze()
