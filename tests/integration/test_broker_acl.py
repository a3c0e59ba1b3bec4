"""`tokd acl`: what it prints, tried on a real mosquitto (scorecard S1), and what still comes through (S2)."""

import itertools
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from adapters.broker import Actors, Guest, acl_file, dynsec_commands
from daemon.domain.errors import AdapterFailed
from tests.brokers import Broker, Listener, eventually, running_broker

BASE = "tokd/v1/main"
DAEMON = "tokd-main"
USERS = (DAEMON, "homeassistant", "panel", "reader", "operator", "stranger")
ACTORS = Actors(
    daemon=DAEMON, node="main", plain=("homeassistant",), allow=("*",), guarded=("account.unlink",),
    grants={"panel": ("session.*",), "reader": ("*.list",), "operator": ("*",), "http:ann": ("*",)},
    home_assistant=Guest("homeassistant", "homeassistant", "homeassistant/status"),
)  # fmt: skip
TOPICS = (
    *(
        f"{BASE}/{kind}/{actor}/{verb}"
        for kind in ("cmd", "reply")
        for actor in ("homeassistant", "panel", "reader", "operator")
        for verb in ("session/open", "account/unlink", "post/list")
    ),
    f"{BASE}/state/account/shop",
    f"{BASE}/event/post",
    f"{BASE}/availability",
    f"{BASE}/cmd/_self/fence",
    "homeassistant/device/tokd_main/config",
    "homeassistant/status",
)  # fmt: skip
# Debian's architectures differ in the middle of this path.
PLUGIN = next(Path("/usr/lib").glob("*/mosquitto_dynamic_security.so"), Path("mosquitto_dynamic_security.so"))
ALL_FOR_ROOT = "\n".join(
    f"mosquitto_ctrl dynsec {words}" for words in (
        "createRole all", "addRoleACL all publishClientSend '#' allow 1",
        "addRoleACL all publishClientReceive '#' allow 1", "addRoleACL all subscribePattern '#' allow 1",
        "addClientRole root all", "createClient stranger -p x",
    )
)  # fmt: skip


def is_allowed(user: str, topic: str, access: str) -> bool:
    """What the design says, written without a look at the rules."""
    if user == DAEMON:
        if topic.startswith(f"{BASE}/"):
            return True
        return topic == "homeassistant/status" if access == "read" else topic.endswith("/config")
    if user == "stranger":
        return False
    if topic.startswith("homeassistant/"):
        return user == "homeassistant"
    kind, *rest = topic.removeprefix(f"{BASE}/").split("/")
    if kind == "cmd":
        return access == "write" and rest[0] == user and verb_is_allowed(user, rest[1], rest[2])
    if kind == "reply":
        return access == "read" and rest[0] == user
    return access == "read"


def verb_is_allowed(user: str, resource: str, verb: str) -> bool:
    match user:
        case "panel":
            return resource == "session"
        case "reader":
            return verb == "list"
        case "homeassistant":
            return (resource, verb) != ("account", "unlink")
    return user == "operator"


@dataclass
class Matrix:
    """Which messages came through: (writer, reader, topic)."""

    heard: set[tuple[str, str, str]]

    def may(self, user: str, topic: str, access: str) -> bool:
        """Tell whether the user could write to, or read from, the topic: the daemon or root is on the other side."""
        other = "root"
        return ((user, other, topic) if access == "write" else (other, user, topic)) in self.heard


@pytest.fixture(scope="module")
def matrix(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Matrix]:
    """Everybody writes everywhere and hears everything; root, who may do all, is on the other side."""
    acl = f"user root\ntopic readwrite #\n\n{acl_file(ACTORS)}"
    users = dict.fromkeys((*USERS, "root"), "x")
    with running_broker(tmp_path_factory.mktemp("acl"), users=users, acl=acl) as broker:
        yield Matrix(set(messages_that_pass(broker)))


def messages_that_pass(broker: Broker) -> Iterator[tuple[str, str, str]]:
    # topic by topic: the plugin refuses a subscription to more than its rules let through, the file does not
    clients = {
        user: Listener(broker, *TOPICS, f"{BASE}/reply/{user}/end", username=user, password="x")
        for user in USERS
    }
    clients["root"] = Listener(broker, "tokd/#", "homeassistant/#", "done", username="root", password="x")
    try:
        for writer, topic in itertools.product(clients, TOPICS):
            clients[writer].publish(topic, writer, qos=0)
        for user, client in clients.items():  # in order behind all that this client has sent
            client.publish(f"{BASE}/availability", f"end of {user}")
        clients["root"].publish("done", "x")
        eventually(lambda: clients["root"].on("done"))
        for user in (*USERS, "root"):
            clients["root"].publish(f"{BASE}/reply/{user}/end", "x")
        for reader, client in clients.items():
            if reader != "stranger":
                client.wait(
                    lambda client=client, reader=reader: (
                        reader in {DAEMON, "root"} or client.on(f"{BASE}/reply/{reader}/end")
                    )
                )
        for reader, client in clients.items():
            for topic, payload in client.heard():
                if topic in TOPICS and payload.decode() in clients:
                    yield payload.decode(), reader, topic
    finally:
        for client in clients.values():
            client.close()


@pytest.mark.parametrize("access", ["write", "read"])
@pytest.mark.parametrize("topic", TOPICS)
@pytest.mark.parametrize("user", USERS)
def test_the_printed_rules_let_through_what_they_should(
    matrix: Matrix, user: str, topic: str, access: str
) -> None:
    assert matrix.may(user, topic, access) is is_allowed(user, topic, access)


def test_the_matrix_is_as_large_as_the_scorecard_says() -> None:
    assert len(USERS) * len(TOPICS) * 2 == 360


def test_a_user_of_http_is_no_user_of_the_broker() -> None:
    assert "ann" not in acl_file(ACTORS)


@pytest.mark.parametrize("name", ["a/b", "#", "+", "a b", "", "x\ntopic readwrite #"])
def test_a_name_that_would_open_other_topics_is_refused(name: str) -> None:
    with pytest.raises(AdapterFailed, match="cannot be a broker user"):
        acl_file(Actors(daemon=DAEMON, node="main", plain=(name,)))


def test_every_rule_is_there_for_the_dynamic_security_plugin() -> None:
    text = dynsec_commands(ACTORS)

    assert "addRoleACL tokd-panel publishClientSend tokd/v1/main/cmd/panel/session/+ allow 5" in text
    assert (
        "addRoleACL tokd-homeassistant publishClientSend tokd/v1/main/cmd/homeassistant/account/unlink deny 10"
        in text
    )
    assert text.count("createClient") == len(ACTORS.rules())


def test_the_commands_for_the_dynamic_security_plugin_let_through_the_same(tmp_path: Path) -> None:
    rules = tmp_path / "rules.json"
    subprocess.run(
        ["mosquitto_ctrl", "dynsec", "init", str(rules), "root", "x"],
        check=True,
        capture_output=True,
        timeout=30,
    )
    options = ("allow_anonymous false", f"plugin {PLUGIN}", f"plugin_opt_config_file {rules}")
    with running_broker(tmp_path / "broker", options=options) as broker:
        (tmp_path / "mosquitto_ctrl").write_text(f"-h 127.0.0.1\n-p {broker.port}\n-u root\n-P x\n")
        commands = re.sub(
            r"createClient \S+", r"\g<0> -p x", dynsec_commands(ACTORS)
        )  # it would ask for a password
        subprocess.run(
            ["sh", "-e", "-c", commands + ALL_FOR_ROOT], env=os.environ | {"XDG_CONFIG_HOME": str(tmp_path)},
            check=True, capture_output=True, timeout=120,
        )  # fmt: skip

        found = Matrix(set(messages_that_pass(broker)))

    cases = itertools.product(USERS, TOPICS, ("read", "write"))
    assert [case for case in cases if found.may(*case) is not is_allowed(*case)] == []


def test_the_command_prints_rules_for_the_configured_actors(tmp_path: Path) -> None:
    (tmp_path / "tokd.toml").write_text('[daemon]\nnode = "shed"\n[access]\ngrants = ["panel: session.*"]\n')

    done = subprocess.run(
        [sys.executable, "-m", "daemon", "--config", str(tmp_path / "tokd.toml"), "acl", "ha"],
        check=True, capture_output=True, text=True, timeout=30,
    )  # fmt: skip

    assert "user tokd-shed\ntopic readwrite tokd/v1/shed/#" in done.stdout
    assert "user panel\ntopic write tokd/v1/shed/cmd/panel/session/+" in done.stdout
    assert "topic deny tokd/v1/shed/cmd/ha/account/unlink" in done.stdout
