"""Who may read and write which topics: one list of rules, as mosquitto's ACL file and as dynamic-security commands.

Source: mqtt.md section 5, rule 3; mosquitto.conf(5), mosquitto_ctrl_dynsec(1). What a broker cannot say, such as limits,
the daemon keeps: its verb gates hold whatever the broker lets through.
"""

import shlex
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Literal

from adapters.broker.files import Guest, check_name

Access = Literal["read", "write", "readwrite", "deny"]
ANYBODY = "%u"  # mosquitto puts the user's name here; only in lines that begin with "pattern"
_PUBLIC = ("state/#", "alert/#", "event/#", "availability", "info")


@dataclass(frozen=True, slots=True)
class Rule:
    """What one user may do below one topic."""

    access: Access
    topic: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Actors:
    """Who comes to the broker. A grant is the list of verbs of its actor, in patterns such as `post.*`."""

    daemon: str
    node: str
    prefix: str = "tokd"
    plain: Sequence[str] = ()  # actors without a grant: `allow` less `guarded`
    allow: tuple[str, ...] = ("*",)
    guarded: tuple[str, ...] = ()
    grants: Mapping[str, tuple[str, ...]] = field(default_factory=lambda: MappingProxyType({}))
    home_assistant: Guest | None = None

    def rules(self) -> dict[str, list[Rule]]:
        """Return the rules of every user. Raises AdapterFailed for a name that would open others' topics."""
        base = f"{self.prefix}/v1/{self.node}"
        found = {self.daemon: self._of_daemon(base)}
        guest = [self.home_assistant.user] if self.home_assistant else []
        for actor in dict.fromkeys((*self.plain, *self.grants, *guest)):
            if actor.startswith("http:"):  # no user of a broker
                continue
            name = actor if actor == ANYBODY else check_name(actor)
            found[name] = list(self._of_actor(base, name))
        return found

    def _of_daemon(self, base: str) -> list[Rule]:
        found, guest = [Rule("readwrite", f"{base}/#")], self.home_assistant
        if guest is not None:
            found += [
                Rule("write", f"{guest.prefix}/+/+/config"),
                Rule("write", f"{guest.prefix}/+/+/+/config"),
                Rule("read", guest.status_topic),
            ]
        return found

    def _of_actor(self, base: str, actor: str) -> Iterable[Rule]:
        granted = self.grants.get(actor)
        for pattern in self.allow if granted is None else granted:
            yield Rule("write", f"{base}/cmd/{actor}/{_topic_of(pattern)}")
        if granted is None:
            for pattern in self.guarded:
                yield Rule("deny", f"{base}/cmd/{actor}/{_topic_of(pattern)}")
        yield Rule("read", f"{base}/reply/{actor}/#")
        for public in _PUBLIC:
            yield Rule("read", f"{base}/{public}")
        guest = self.home_assistant
        if guest is not None and actor == guest.user:
            yield Rule("readwrite", f"{guest.prefix}/#")  # it clears what a person deletes there
            yield Rule("readwrite", guest.status_topic)
            yield Rule("read", f"{base}/screenshot/#")


def acl_file(actors: Actors) -> str:
    """Return the rules as mosquitto reads them from `acl_file`."""
    blocks = []
    for user, rules in actors.rules().items():
        word = "pattern" if user == ANYBODY else "topic"
        head = [] if user == ANYBODY else [f"user {user}"]
        # The first rule that matches holds, so what is denied stands first.
        ordered = sorted(rules, key=lambda rule: rule.access != "deny")
        blocks.append("\n".join([*head, *(f"{word} {rule.access} {rule.topic}" for rule in ordered)]) + "\n")
    # Patterns belong to no user: they go to the end, or they would stand under one.
    return "\n".join(sorted(blocks, key=lambda block: block.startswith("pattern")))


def dynsec_commands(actors: Actors) -> str:
    """Return shell lines for mosquitto's dynamic-security plugin; each user's password is asked for."""
    lines = [
        "# The options that reach your broker go into ~/.config/mosquitto_ctrl, a line for each: -h localhost, -u admin",
        "# By default nobody may send or receive anything:",
        *(
            f"mosquitto_ctrl dynsec setDefaultACLAccess {kind} deny"
            for kind in ("publishClientSend", "publishClientReceive", "subscribe")
        ),
    ]
    for user, rules in actors.rules().items():
        role = shlex.quote(f"tokd-{user}")
        lines += ["", f"mosquitto_ctrl dynsec createRole {role}"]
        for rule in rules:
            lines += [
                f"mosquitto_ctrl dynsec addRoleACL {role} {kind} {shlex.quote(rule.topic)} {verdict} {priority}"
                for kind, verdict, priority in _dynsec(rule.access)
            ]
        name = shlex.quote(user)
        lines += [
            f"mosquitto_ctrl dynsec createClient {name}",
            f"mosquitto_ctrl dynsec addClientRole {name} {role}",
        ]
    return "\n".join(lines) + "\n"


def _dynsec(access: Access) -> list[tuple[str, str, int]]:
    send, hear = ("publishClientSend", "allow", 5), ("publishClientReceive", "allow", 5)
    subscribe = ("subscribePattern", "allow", 5)
    match access:
        case "write":
            return [send]
        case "read":
            return [hear, subscribe]
        case "readwrite":
            return [send, hear, subscribe]
        case "deny":
            return [("publishClientSend", "deny", 10)]


def _topic_of(pattern: str) -> str:
    return "#" if pattern == "*" else pattern.replace(".", "/").replace("*", "+")
