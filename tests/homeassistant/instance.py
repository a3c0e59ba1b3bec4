"""A real Home Assistant on loopback, in a folder of its own, and somebody who may ask it everything.

It runs from the virtual environment that `make test-ha` fills. Its accounts, its broker and its token are made here,
for this one throw-away instance.
"""

import json
import os
import secrets
import subprocess
import uuid
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import jwt
import websocket

from tests.brokers import DEADLINE_S, free_port
from tests.daemons import ROOT
from tests.waiting import wait_until

PYTHON = Path(os.environ.get("TOKD_HA_VENV", ROOT / ".venv-ha")) / "bin" / "python"
START_S = 60.0
CONFIGURATION = """\
homeassistant:
  name: Home
  latitude: 0
  longitude: 0
  elevation: 0
  unit_system: metric
  time_zone: UTC
  country: DE
  auth_providers:
    - type: homeassistant
http:
  server_host: 127.0.0.1
  server_port: {port}
api:
websocket_api:
config:
automation: !include automations.yaml
logger:
  default: warning
  logs:
    homeassistant.components.mqtt: info
    homeassistant.components.automation: info
"""


def version() -> tuple[int, int]:
    """Return the year and the month of the Home Assistant that is installed; (0, 0) where none is."""
    if not PYTHON.exists():
        return 0, 0
    ask = "from homeassistant.const import MAJOR_VERSION, MINOR_VERSION; print(MAJOR_VERSION, MINOR_VERSION)"
    found = subprocess.run(
        [str(PYTHON), "-c", ask], capture_output=True, text=True, check=True
    ).stdout.split()
    return int(found[0]), int(found[1])


class HomeAssistant:
    """Knows nothing of tokd: only a broker, and the blueprints that a person has imported."""

    def __init__(
        self, folder: Path, broker_port: int, username: str, password: str,
        blueprints: Path | None = None,
    ) -> None:  # fmt: skip
        self.folder = folder
        self.port = free_port()
        self.log = folder / "home-assistant.log"
        self.process: subprocess.Popen[bytes] | None = None
        self._storage = folder / ".storage"
        self._storage.mkdir(parents=True)
        self._token = self._make_token()
        self._add_broker(broker_port, username, password)
        (folder / "configuration.yaml").write_text(CONFIGURATION.format(port=self.port))
        (folder / "automations.yaml").write_text("[]")
        if blueprints is not None:
            place = folder / "blueprints" / "automation" / "tokd"
            place.mkdir(parents=True)
            for found in blueprints.glob("*.yaml"):
                (place / found.name).write_bytes(found.read_bytes())

    # -- life --------------------------------------------------------------------------------------------

    def start(self) -> None:
        """Start it, and wait until it has started all that it starts."""
        environ = {"PATH": os.environ["PATH"], "HOME": str(self.folder), "LANG": "C.UTF-8"}
        with (self.folder / "output.log").open("ab") as output:
            self.process = subprocess.Popen(
                [str(PYTHON), "-m", "homeassistant", "--config", str(self.folder), "--skip-pip"],
                cwd=self.folder, env=environ, stdin=subprocess.DEVNULL, stdout=output, stderr=output,
            )  # fmt: skip
        wait_until(self._is_running, START_S, every_s=0.5, what=self.tail)

    def stop(self) -> None:
        """End it as its service would."""
        if self.process is not None:
            self.process.terminate()
            try:
                self.process.wait(60)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
            self.process = None

    def tail(self) -> str:
        """Return the last lines it has said."""
        return "\n".join((self.folder / "output.log").read_text(errors="replace").splitlines()[-30:])

    def complaints(self) -> list[str]:
        """Return the warnings and errors that are about MQTT, templates, automations, or about us."""
        words = ("mqtt", "tokd", "template", "automation", "blueprint")
        lines = (self.folder / "output.log").read_text(errors="replace").splitlines()
        loud = [line for line in lines if " WARNING " in line or " ERROR " in line]
        return [line for line in loud if any(word in line.lower() for word in words)]

    # -- questions ---------------------------------------------------------------------------------------

    def ask(self, *messages: dict[str, Any]) -> list[Any]:
        """Send messages over the WebSocket API; return their results in order."""
        connection = websocket.create_connection(
            f"ws://127.0.0.1:{self.port}/api/websocket", timeout=DEADLINE_S, enable_multithread=False
        )
        try:
            assert json.loads(connection.recv())["type"] == "auth_required"
            connection.send(json.dumps({"type": "auth", "access_token": self._token}))
            assert json.loads(connection.recv())["type"] == "auth_ok"
            results = []
            for number, message in enumerate(messages, 1):
                connection.send(json.dumps({"id": number} | message))
                answer = json.loads(connection.recv())
                assert answer.get("success"), answer
                results.append(answer["result"])
            return results
        finally:
            connection.close()

    def entities(self) -> dict[str, dict[str, Any]]:
        """Return the MQTT entities of the registry by their unique id."""
        found = self.ask({"type": "config/entity_registry/list"})[0]
        return {entry["unique_id"]: entry for entry in found if entry["platform"] == "mqtt"}

    def devices(self) -> dict[str, dict[str, Any]]:
        """Return the devices of the registry by their first MQTT identifier."""
        found = self.ask({"type": "config/device_registry/list"})[0]
        return {entry["identifiers"][0][1]: entry for entry in found if entry["identifiers"]}

    def states(self) -> dict[str, dict[str, Any]]:
        """Return the states of the MQTT entities by their unique id."""
        entities, states = self.ask({"type": "config/entity_registry/list"}, {"type": "get_states"})
        by_id = {state["entity_id"]: state for state in states}
        return {
            entry["unique_id"]: by_id[entry["entity_id"]]
            for entry in entities
            if entry["platform"] == "mqtt" and entry["entity_id"] in by_id
        }

    def state(self, unique_id: str) -> str | None:
        """Return one entity's state, None where it has none."""
        found = self.states().get(unique_id)
        return None if found is None else str(found["state"])

    def wait_state(self, unique_id: str, *wanted: str, within_s: float = 30.0) -> None:
        """Return when an entity has one of these states."""
        last: list[str | None] = [None]

        def look() -> bool:
            last[0] = self.state(unique_id)
            return last[0] in wanted

        wait_until(look, within_s, every_s=0.2, what=lambda: f"{unique_id} in {wanted}, but {last[0]}")

    def wait_states(self, look: Callable[[dict[str, str]], Any], within_s: float = 30.0) -> None:
        """Return when a look at all states is satisfied."""
        last: dict[str, str] = {}

        def once() -> Any:
            last.clear()
            last.update({key: found["state"] for key, found in self.states().items()})
            return look(last)

        wait_until(once, within_s, every_s=0.3, what=lambda: str(last))

    def call(self, unique_id: str, service: str) -> None:
        """Call a service on an entity, as its button or its switch on a dashboard does."""
        entity = self.entities()[unique_id]["entity_id"]
        domain = entity.partition(".")[0]
        self.ask(
            {"type": "call_service", "domain": domain, "service": service, "target": {"entity_id": entity}}
        )

    def automate(self, *automations: dict[str, Any]) -> None:
        """Have these automations, as a person writes them, and no others."""
        (self.folder / "automations.yaml").write_text(json.dumps(automations))  # JSON is YAML
        self.ask({"type": "call_service", "domain": "automation", "service": "reload"})

    def trigger(self, automation: str) -> None:
        """Run an automation's actions, as its button "Run" does; returns when they are through."""
        found = self.ask({"type": "config/entity_registry/list"})[0]
        entity = next(
            entry["entity_id"]
            for entry in found
            if (entry["platform"], entry["unique_id"]) == ("automation", automation)
        )
        self.ask(
            {
                "type": "call_service",
                "domain": "automation",
                "service": "trigger",
                "target": {"entity_id": entity},
            }
        )

    def _is_running(self) -> bool:
        assert self.process is not None
        assert self.process.poll() is None, self.tail()
        try:
            return bool(self.ask({"type": "get_config"})[0]["state"] == "RUNNING")
        except (OSError, websocket.WebSocketException):
            return False

    # -- what a person would have clicked ----------------------------------------------------------------

    def _store(self, key: str, version: int, minor: int, data: dict[str, Any]) -> None:
        text = json.dumps({"version": version, "minor_version": minor, "key": key, "data": data})
        (self._storage / key).write_text(text)

    def _make_token(self) -> str:
        """Make an owner with a long-lived token, and no onboarding left to do."""
        now, owner, token_id, key = (
            datetime.now(UTC),
            uuid.uuid4().hex,
            uuid.uuid4().hex,
            secrets.token_hex(64),
        )
        groups = [{"id": "system-admin", "name": "Administrators"}, {"id": "system-users", "name": "Users"},
                  {"id": "system-read-only", "name": "Read Only"}]  # fmt: skip
        user = {
            "id": owner, "group_ids": ["system-admin"], "is_owner": True, "is_active": True, "name": "owner",
            "system_generated": False, "local_only": False,
        }  # fmt: skip
        token = {
            "id": token_id, "user_id": owner, "client_id": None, "client_name": "tests", "client_icon": None,
            "token_type": "long_lived_access_token", "created_at": now.isoformat(),
            "access_token_expiration": 86400.0, "token": secrets.token_hex(64), "jwt_key": key,
            "last_used_at": None, "last_used_ip": None, "credential_id": None, "version": None,
        }  # fmt: skip
        data = {"users": [user], "groups": groups, "credentials": [], "refresh_tokens": [token]}
        self._store("auth", 1, 1, data)
        self._store("onboarding", 4, 1, {"done": ["user", "core_config", "analytics", "integration"]})
        return jwt.encode({"iss": token_id, "iat": now, "exp": now + timedelta(days=1)}, key, "HS256")

    def _add_broker(self, port: int, username: str, password: str) -> None:
        now = datetime.now(UTC).isoformat()
        entry = {
            "created_at": now, "modified_at": now, "entry_id": uuid.uuid4().hex, "domain": "mqtt", "title": "broker",
            "version": 1, "minor_version": 2, "source": "user", "unique_id": None, "disabled_by": None,
            "pref_disable_new_entities": False, "pref_disable_polling": False, "discovery_keys": {},
            "subentries": [], "options": {"discovery": True, "discovery_prefix": "homeassistant"},
            "data": {"broker": "127.0.0.1", "port": port, "username": username, "password": password},
        }  # fmt: skip
        self._store("core.config_entries", 1, 5, {"entries": [entry]})
