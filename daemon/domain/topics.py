"""The topic tree of mqtt.md section 7.1, and the fence around reply topics."""

from dataclasses import dataclass

from daemon.domain.ids import NAME, SELF_ACTOR

PROTOCOL = "v1"
COMMAND_LEVELS = 3  # actor, resource, verb
MAX_REPLY_TOPIC = 512


@dataclass(frozen=True, slots=True)
class CommandTopic:
    """A topic under `cmd/`, taken apart as far as it goes."""

    topic: str
    actor: str
    verb: str
    is_well_formed: bool

    @property
    def actor_is_allowed(self) -> bool:
        """Tell whether this name may send commands: `_self` is the daemon's own."""
        return self.actor != SELF_ACTOR and NAME.fullmatch(self.actor) is not None


@dataclass(frozen=True, slots=True)
class Topics:
    """All topics of one node."""

    prefix: str
    node: str

    @property
    def base(self) -> str:
        """Return what all topics of this node begin with."""
        return f"{self.prefix}/{PROTOCOL}/{self.node}"

    @property
    def availability(self) -> str:
        """Return the topic of `online` and `offline`."""
        return f"{self.base}/availability"

    @property
    def info(self) -> str:
        """Return the topic that says what this daemon is."""
        return f"{self.base}/info"

    @property
    def fence(self) -> str:
        """Return the topic of the marker that tells what was sent while we were away from what comes now."""
        return f"{self.base}/cmd/{SELF_ACTOR}/fence"

    @property
    def commands(self) -> str:
        """Return the filter of all commands."""
        return f"{self.base}/cmd/#"

    def command(self, actor: str, verb: str) -> str:
        """Return the topic to which an actor sends a command."""
        return f"{self.base}/cmd/{actor}/{verb}"

    def event(self, channel: str) -> str:
        """Return the topic of a kind of event."""
        return f"{self.base}/event/{channel}"

    def state(self, path: str) -> str:
        """Return the topic of a retained state; alerts stand beside the states (section 7.1)."""
        if path.startswith("alert/"):
            return f"{self.base}/{path}"
        return f"{self.base}/state/{path}"

    def screenshot(self, account: str) -> str:
        """Return the topic of an account's pictures."""
        return f"{self.base}/screenshot/{account}"

    def is_command(self, topic: str) -> bool:
        """Tell whether the topic lies under `cmd/`. The filter `cmd/#` also matches `cmd` itself."""
        root = f"{self.base}/cmd"
        return topic == root or topic.startswith(f"{root}/")

    def read_command(self, topic: str) -> CommandTopic:
        """Take a topic under `cmd/` apart. Never raises: a wrong depth is told by `is_well_formed`."""
        levels = topic[len(f"{self.base}/cmd/") :].split("/")
        is_well_formed = len(levels) == COMMAND_LEVELS and all(levels)
        return CommandTopic(topic, levels[0], "/".join(levels[1:]), is_well_formed)

    def default_reply(self, topic: str) -> str:
        """Return the place where a command is answered that names none."""
        return f"{self.base}/reply{topic[len(f'{self.base}/cmd') :]}"

    def asker(self, topic: str) -> str:
        """Return the actor who is answered on a topic under `reply/`."""
        return topic.removeprefix(f"{self.base}/reply/").partition("/")[0]

    def may_reply_to(self, topic: str, actor: str) -> bool:
        """Tell whether the actor may be answered here (mqtt.md section 3.1: the confused deputy).

        A letter that MQTT forbids in a topic would make the broker cut our connection, for everybody.
        """
        fence = f"{self.base}/reply/{actor}/"
        return (
            topic.startswith(fence)
            and len(topic) > len(fence)
            and len(topic) <= MAX_REPLY_TOPIC
            and topic.isprintable()
            and not set("+#$") & set(topic)
        )
