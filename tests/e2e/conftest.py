"""What the tests of sessions share: one simulated site, and one profile that is logged in there."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.daemons import Simulator
from tests.e2e.session_stage import make_profile, minted
from tests.profiles import short_folder


@pytest.fixture(scope="session")
def simulated() -> Iterator[Simulator]:
    with short_folder() as folder:
        simulator = Simulator(folder)
        yield simulator
        simulator.stop()


@pytest.fixture(scope="session")
def site(simulated: Simulator) -> str:
    return simulated.url


@pytest.fixture(scope="session")
def logged_in(simulated: Simulator) -> Iterator[Path]:
    """A profile that is logged in; copy it, do not touch it."""
    with short_folder() as folder:
        yield make_profile(folder / "p", f"{simulated.url}/", minted(simulated))


@pytest.fixture(scope="session")
def logged_out(site: str) -> Iterator[Path]:
    """A profile that has visited the site as a guest."""
    with short_folder() as folder:
        yield make_profile(folder / "p", f"{site}/", {})
