"""How the files of the suite are dealt out to its workers: browsers at one end, everything else from the other."""

from collections import OrderedDict
from itertools import groupby
from pathlib import Path
from typing import cast

import pytest

from tests.dealing import Dealing, in_order, opens_browser

TESTS = Path(__file__).resolve().parents[1]


class Item:
    """As much of a test as the order looks at."""

    def __init__(self, path: Path, number: int) -> None:
        self.path = path
        self.number = number


@pytest.fixture(scope="module")
def files() -> list[Path]:
    found = sorted(TESTS.glob("*/test_*.py"))
    assert len(found) > 100
    return found


def ordered(files: list[Path]) -> list[Item]:
    items = [Item(path, number) for path in files for number in range(2)]
    return cast("list[Item]", in_order(cast("list[pytest.Item]", items)))


def test_every_test_is_dealt_once_and_its_file_stays_whole(files: list[Path]) -> None:
    found = ordered(files)

    assert sorted((item.path, item.number) for item in found) == [(path, n) for path in files for n in (0, 1)]
    assert [len(list(group)) for _, group in groupby(found, lambda item: item.path)] == [2] * len(files)


def test_files_that_open_browsers_come_first_and_the_long_ones_of_the_others_last(files: list[Path]) -> None:
    order = list(dict.fromkeys(item.path for item in ordered(files)))
    browsing = [opens_browser(path) for path in order]

    assert browsing == sorted(browsing, reverse=True)
    folders = [path.parent.name for path in order if not opens_browser(path)]
    assert [name for name, _ in groupby(folders)][-5:] == ["unit", "contract", "integration", "e2e", "crash"]


@pytest.mark.parametrize(
    "name",
    ["e2e/test_session_soak", "e2e/test_linking", "integration/test_browser_ends", "integration/test_http_pages",
     "integration/test_profiles_in_use", "integration/test_simulator_site"],
)  # fmt: skip
def test_a_file_that_opens_a_browser_is_known(name: str) -> None:
    assert opens_browser(TESTS / f"{name}.py")


@pytest.mark.parametrize(
    "name", ["unit/test_bus", "crash/test_random_kills", "integration/test_http_sessions"]
)
def test_a_file_that_opens_none_is_known(name: str) -> None:
    assert not opens_browser(TESTS / f"{name}.py")


class Gateway:
    def __init__(self, name: str) -> None:
        self.id = name


class Node:
    """A worker that notes what it is given."""

    def __init__(self, name: str) -> None:
        self.gateway = Gateway(name)
        self.taken: list[int] = []

    def send_runtest_some(self, numbers: list[int]) -> None:
        self.taken += numbers


def test_the_first_worker_begins_in_front_and_all_others_at_the_end() -> None:
    nodes = [Node(f"gw{number}") for number in range(3)]
    dealing = Dealing.__new__(Dealing)
    tests = [f"tests/test_{number}.py::test" for number in range(6)]
    dealing.workqueue = OrderedDict((test.partition("::")[0], {test: False}) for test in tests)
    dealing.assigned_work = {}
    dealing.registered_collections = dict.fromkeys(nodes, tests)

    for node in nodes * 2:
        dealing._assign_work_unit(node)

    assert [node.taken for node in nodes] == [[0, 1], [5, 3], [4, 2]]
