"""How the whole suite runs: what takes long first, no garbage collection of the tests themselves."""

import gc
import os
import sys

import pytest

# Folders whose modules start processes and wait for them. The last file to begin decides when the run ends.
_SLOW_FIRST = ("crash", "e2e", "integration", "contract")


# Some two hundred daemons are started: where the tree can be written to, only the first has to compile it.
sys.dont_write_bytecode = False
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)


@pytest.hookimpl(trylast=True)
def pytest_configure(config: pytest.Config) -> None:
    """Let the order below be that of `--dist loadfile`, which begins with the files of most tests otherwise."""
    if hasattr(config.option, "loadscopereorder"):
        config.option.loadscopereorder = False


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put slow folders first; in each folder the order stays."""
    items.sort(key=_rank)


def _rank(item: pytest.Item) -> int:
    folder = item.path.parent.name
    return _SLOW_FIRST.index(folder) if folder in _SLOW_FIRST else len(_SLOW_FIRST)


def pytest_collection_finish() -> None:
    """Thousands of tests never become garbage, and each full collection would look at them for a third of a second."""
    gc.collect()
    gc.freeze()
