"""The named places where a crash test ends the process or a thread; without a name armed they do nothing."""

from collections.abc import Iterator

import pytest

from daemon import failpoints
from daemon.domain.errors import StartRefused


@pytest.fixture(autouse=True)
def _disarmed() -> Iterator[None]:
    yield
    failpoints.arm(None)


def test_a_thread_ends_at_the_passage_that_was_named() -> None:
    failpoints.arm("outbox.before_send:die@2")
    failpoints.hit("outbox.before_send")
    failpoints.hit("outbox.after_send")

    with pytest.raises(failpoints.ThreadEnds):
        failpoints.hit("outbox.before_send")


def test_whoever_forgives_mistakes_does_not_forgive_the_end_of_a_thread() -> None:
    assert not issubclass(failpoints.ThreadEnds, Exception)


@pytest.mark.parametrize("spec", ["nowhere:kill", "outbox.before_send:explode"])
def test_an_unknown_place_or_deed_is_refused(spec: str) -> None:
    with pytest.raises(StartRefused, match="unknown failpoint"):
        failpoints.arm(spec)
