"""The MQTT gateway: one network thread of ours, and what other threads may ask of it."""

import logging
import random
import threading
from collections.abc import Callable, Sequence
from typing import Any

from adapters.mqtt.mailbox import Mailbox
from adapters.mqtt.network import Network
from adapters.mqtt.settings import MqttSettings
from daemon.ports import Bus, Clock, Neighbour, Outgoing

log = logging.getLogger("tokd.mqtt")

JOIN_GRACE_S = 1.0


class MqttGateway:
    """Commands in, replies, events and states out. Implements ports.Publisher.

    `on_death` is called from the network thread when it ends by an error that nobody foresaw; the daemon
    must not go on without it. `on_secret` is told the password, so that logging can redact it.
    `pass_point` is called at the named places of a crash test. When `neighbour` says so, everything is said again.
    `on_left_out` is told how many answers were left out because their actor sends faster than it can be answered.
    """

    transport = "mqtt"
    keeps_outbox = True

    def __init__(
        self,
        settings: MqttSettings,
        bus: Bus,
        clock: Clock,
        boot: str,
        info: Callable[[], dict[str, Any]],
        on_death: Callable[[BaseException], None],
        *,
        on_secret: Callable[[str], None] | None = None,
        share: Callable[[], float] = random.random,
        pass_point: Callable[[str], None] = lambda _name: None,
        neighbour: Neighbour | None = None,
        on_left_out: Callable[[int], None] = lambda _count: None,
    ) -> None:
        self._settings = settings
        self._clock = clock
        self._on_death = on_death
        self._on_secret = on_secret
        self._make_network: Callable[[Mailbox], Network] = lambda mailbox: Network(
            settings, bus, clock, boot, info, mailbox, share, pass_point, neighbour, on_left_out
        )
        self._mailbox: Mailbox | None = None
        self._network: Network | None = None
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Begin to connect, and go on until stop. Returns at once, with or without a broker."""
        if self._thread is not None:
            return
        if self._on_secret is not None and self._settings.password:
            self._on_secret(self._settings.password)
        self._mailbox = mailbox = Mailbox()
        self._network = network = self._make_network(mailbox)
        # a daemon thread: a name lookup that hangs must not hold up the exit after stop has given up on it
        self._thread = threading.Thread(target=self._run, args=(network, mailbox), name="mqtt", daemon=True)
        self._thread.start()

    def stop(self, deadline_s: float = 5.0) -> None:
        """Flush the outbox, say `offline`, disconnect, within the time. Safe twice and before start."""
        if self._thread is None or self._mailbox is None:
            return
        self._mailbox.ask_to_stop(self._clock.monotonic(), deadline_s)
        self._thread.join(deadline_s + JOIN_GRACE_S)
        if self._thread.is_alive():
            log.error("the network thread did not end in time", extra={"action": "mqtt_stop"})

    def offer(self, messages: Sequence[Outgoing]) -> None:
        """Take messages in order; what cannot be sent now is dropped and read again from the outbox."""
        if self._mailbox is not None and messages:
            self._mailbox.offer(messages)

    def is_alive(self) -> bool:
        """Tell whether the network thread runs."""
        return self._thread is not None and self._thread.is_alive()

    @property
    def last_beat(self) -> float:
        """Return the monotonic time of the loop's last turn: older than 30 s means that it hangs."""
        return self._network.last_beat if self._network else 0.0

    @property
    def turns(self) -> int:
        """Return how often the loop has gone round."""
        return self._network.turns if self._network else 0

    def status(self) -> dict[str, Any]:
        """Return connected, protocol, since, last_error, session_present, self_test and queued.

        self_test: True once a message of ours has come back on this connection, False where none does.
        """
        if self._network is None:
            return {
                "connected": False, "protocol": None, "since": None, "last_error": "not started",
                "session_present": None, "self_test": None, "queued": 0,
            }  # fmt: skip
        return self._network.status | {"queued": self._network.queued}

    def _run(self, network: Network, mailbox: Mailbox) -> None:
        try:
            while not network.is_finished:
                network.turn()
        except BaseException as error:  # whatever it was: no dead thread goes unnoticed
            log.critical("the network thread died", exc_info=error, extra={"action": "mqtt_death"})
            network.status = network.status | {"connected": False, "last_error": f"died: {error}"}
            self._on_death(error)
        finally:
            network.close()
            mailbox.close()
