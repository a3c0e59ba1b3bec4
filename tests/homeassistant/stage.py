"""Home Assistant, a broker with an ACL, and a daemon with a simulated TikTok: everything real, all on loopback."""

import json
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from adapters.broker.acl import Actors, acl_file
from adapters.broker.files import Guest
from tests.brokers import Broker, Listener
from tests.daemons import ROOT, Daemon, Simulator, make_clip
from tests.e2e.session_stage import SessionStage, make_profile, minted
from tests.homeassistant.instance import HomeAssistant, version
from tests.profiles import short_folder

TOKD, HOME = "tokd-main", "homeassistant"
PASSWORDS = {TOKD: "tokd-secret", HOME: "home-secret"}
REPLIES = "tokd/v1/main/reply/homeassistant/#"
DEVICE = "tokd_main_demo"


class Stage:
    """See the module's docstring."""

    def __init__(
        self, broker: Broker, daemon: Daemon, home: HomeAssistant, simulator: Simulator, mode: str
    ) -> None:
        self.broker = broker
        self.daemon = daemon
        self.home = home
        self.simulator = simulator
        self.mode = mode  # of discovery

    def listen(self, *filters: str, user: str = HOME) -> Listener:
        """Return a listener with a user's rights."""
        return Listener(self.broker, *filters, username=user, password=PASSWORDS[user])

    def orders(self, verb: str) -> int:
        """Return how many commands of Home Assistant tokd has carried out or refused, by its ledger."""
        found = self.daemon.rows(f"SELECT count(*) FROM command WHERE actor = '{HOME}' AND verb = '{verb}'")
        return int(found[0][0])

    @property
    def topics(self) -> str:
        """Return the filter of all discovery messages."""
        return "homeassistant/device/+/config" if self.mode == "device" else "homeassistant/+/+/+/config"

    def announced(self) -> dict[str, dict[str, Any]]:
        """Return the components that stand announced on the broker, by their unique id."""
        with self.listen(self.topics, "tokd/v1/main/availability") as listener:
            listener.wait_for(
                "tokd/v1/main/availability", b"online"
            )  # the broker gives what it keeps in one go
            listener.wait(lambda: len(listener.heard()) >= (3 if self.mode == "device" else 20))
            last = {topic: payload for topic, payload in listener.heard() if topic.startswith(HOME)}
        payloads = {topic: json.loads(payload) for topic, payload in last.items() if payload}
        found = [
            component
            for payload in payloads.values()
            for component in payload.get("components", {"": payload}).values()
            if "unique_id" in component  # one without is about to be taken back
        ]
        return {component["unique_id"]: component for component in found}


@contextmanager
def running_stage() -> Iterator[Stage]:
    """Give the stage, with one linked account whose profile is logged in."""
    with ExitStack() as stack:
        folder: Path = stack.enter_context(short_folder())
        mode = "device" if version() >= (2024, 11) else "component"
        guest = Guest(HOME, "homeassistant", "homeassistant/status")
        acl = acl_file(Actors(daemon=TOKD, node="main", home_assistant=guest))
        broker = Broker(folder / "broker", users=PASSWORDS, acl=acl)
        stack.callback(broker.close)
        broker.start()
        simulator = Simulator(folder / "simulator")
        stack.callback(simulator.stop)
        (folder / "s").mkdir()
        sessions = SessionStage(folder / "s", simulator.url)
        sessions.have(make_profile(folder / "p", f"{simulator.url}/", minted(simulator)))
        daemon = sessions.daemon.use_broker(broker.port, TOKD, PASSWORDS[TOKD]).use_simulator(simulator)
        daemon.settings |= {
            "mqtt.will_delay_s": "0",
            "homeassistant.birth_delay_s": "[0.2, 0.5]",
            "homeassistant.discovery": mode,
        }
        make_clip(daemon.media / "clip.mp4")
        stack.callback(daemon.stop)
        daemon.start()
        assert daemon.link(simulator)["status"] == "done"
        home = HomeAssistant(
            folder / "home", broker.port, HOME, PASSWORDS[HOME], ROOT / "homeassistant" / "blueprints"
        )
        stack.callback(home.stop)
        home.start()
        yield Stage(broker, daemon, home, simulator, mode)
