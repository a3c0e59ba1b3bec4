"""The composition root: the one place that knows every part and puts them together."""

import faulthandler
import importlib.metadata
import logging
import math
import os
import random
import sys
import threading
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import timedelta
from pathlib import Path
from typing import Any

from adapters.broker import MosquittoChild
from adapters.control.server import ControlServer
from adapters.mqtt import MqttGateway, MqttSettings, TlsSettings
from adapters.scheduler.clock import RandomIds, SystemClock
from adapters.scheduler.timer import ApschedulerTimer
from adapters.simulator.child import CLIENT_KEY, CLIENT_SECRET, SimulatorChild
from adapters.storage.lock import StateLock
from adapters.storage.starts import StartLog
from adapters.storage.store import SqlStore
from adapters.systemd import Systemd
from adapters.tiktok.uploader import TikTokUploader
from adapters.tokens import TokenGate
from adapters.vault import FernetVault
from config.load import Loaded
from config.logging import Redactor, configure, set_level
from config.login_markers import LoginMarkers
from config.session_section import SessionSettings
from config.settings import Settings
from daemon import failpoints, first_run, homeassistant_parts
from daemon.app import EXIT_FAILED, EXIT_REFUSED, App, Step
from daemon.bus import CoreBus
from daemon.domain import asyncapi
from daemon.domain.commands import VERBS
from daemon.domain.errors import AdapterFailed, StartRefused
from daemon.domain.figures import Figures, Look, Tally
from daemon.domain.ids import NodeName
from daemon.domain.policy import Policy
from daemon.domain.reports import ClockTicked, DaemonStarted, DaemonStopping, SweepDue
from daemon.domain.safe_mode import SafeMode
from daemon.domain.topics import PROTOCOL
from daemon.domain.wire import MAX_BYTES
from daemon.handlers.context import Rules
from daemon.importing import without_collections
from daemon.jobs.run import Jobs
from daemon.jobs.tokens import TokenDesk
from daemon.jobs.tools import Tools
from daemon.media_parts import media_parts
from daemon.policy_parts import gates_of, policy_of, tiktok_settings
from daemon.ports import MediaProbe, MediaStore
from daemon.pulse import BUS_S, HTTP_S, MQTT_S, TIMER_S, WORKERS_S, Pulse
from daemon.reloading import Reloader
from daemon.session_parts import session_parts, session_policy
from daemon.signals import print_stacks_later
from daemon.start_parts import doors_of, ledger_store, note_start, say_safe_mode, vault_of
from daemon.worker import WorkerPool

LOG = logging.getLogger("tokd")
SWITCH_S = 0.0002


@dataclass(frozen=True)
class RunOptions:
    """What `tokd run` was told on its command line."""

    with_broker: bool = False
    simulate: bool = False


@dataclass
class _Broker:
    """Where the broker is, once that is known."""

    settings: MqttSettings | None
    child: MosquittoChild | None


def run_daemon(
    loaded: Loaded, options: RunOptions, say: Callable[[str], None] | None = None,
    reread: Callable[[], Loaded] | None = None,
) -> int:  # fmt: skip
    """Run the daemon until it is told to stop; return the exit code: 0, 70 after a failure, 78 for a refused start.

    `reread` reads the settings again, for SIGHUP.
    """
    # Each SQLite call lets go of the interpreter lock: with the usual 5 ms a busy neighbour thread would delay
    # every one of them by that much.
    sys.setswitchinterval(SWITCH_S)
    faulthandler.enable(all_threads=True)  # a crash of the interpreter then leaves every thread's stack
    os.umask(0o077)  # whatever is written from here on is for this user alone
    redactor = Redactor()
    settings = loaded.settings
    for secret in settings.secret_values:
        redactor.add(secret)
    configure(settings.log.level, settings.log.format, redactor)
    for warning in loaded.warnings:
        LOG.warning("%s", warning)
    stopping = threading.Event()
    pulse = Pulse(Systemd.from_environ(os.environ), SystemClock(), print_stacks_later)
    app = App(stopping, pulse, Reloader(reread, loaded, redactor) if reread is not None else None)
    house = _Composition(settings, loaded.markers, options, app, stopping, redactor, say or _print, pulse)
    try:
        failpoints.arm(settings.daemon.failpoint)
        on_ready = house.build()
    except (StartRefused, AdapterFailed) as error:
        LOG.error("not started: %s", error)  # noqa: TRY400 - the sentence is all a person needs
        house.end()
        return EXIT_REFUSED
    code = app.run(on_ready)
    if code != EXIT_FAILED:
        house.end()
    return code


def _print(line: str) -> None:
    print(line, flush=True)  # noqa: T201 - what a person reads at the first run


class _Composition:
    """Builds the parts in the order in which they start. What it builds acts only when its step starts."""

    def __init__(
        self, settings: Settings, markers: LoginMarkers, options: RunOptions, app: App, stopping: threading.Event,
        redactor: Redactor, say: Callable[[str], None], pulse: Pulse,
    ) -> None:  # fmt: skip
        self._settings = settings
        self._markers = markers
        self._options = options
        self._app = app
        self._stopping = stopping
        self._redactor = redactor
        self._say = say
        self._pulse = pulse
        self._figures = figures = Figures()
        figures.watch(Look.REDACTIONS, lambda: redactor.redactions)
        self._clock = SystemClock()
        self._ids = RandomIds()
        self._boot = self._ids.boot()
        self._version = importlib.metadata.version("tokd")
        self._started_at = self._clock.now()
        self._starts: StartLog | None = None
        self._safe_mode: SafeMode | None = None
        self._parts: dict[str, Callable[[], dict[str, Any]]] = {}
        self._simulator: SimulatorChild | None = None
        http = settings.http
        self._gate = TokenGate(settings.jwt_key_file, http.jwks_file, http.jwt_issuer, http.jwt_audience)

    def build(self) -> Callable[[], None]:
        """Fill the app's list of steps; return what to do when all of them have started.

        The children start here already, because their ports are what the other parts are built with; their
        steps stop them. Raises StartRefused, AdapterFailed.
        """
        state_dir = self._settings.state_dir
        lock = StateLock(state_dir)
        lock.take()
        self._add("lock", lambda: None, lambda _s: lock.release())
        self._starts, self._safe_mode = note_start(self._settings, self._clock, self._figures)
        try:
            broker = self._broker(state_dir)
            platform = self._platform(state_dir)
            media = media_parts(self._settings, self._clock, self._stopping, simulate=self._options.simulate)
        except Exception:
            self._stop_children()
            raise
        vault = vault_of(self._settings, self._safe_mode, self._redactor.add)
        rules = self._rules(platform, media.library, vault, has_broker=broker.settings is not None)
        timer = ApschedulerTimer(on_jump=lambda: self._figures.count(Tally.CLOCK_JUMPS))
        pool: WorkerPool
        store = self._store(rules)
        bus = CoreBus(store, self._clock, timer, rules, self._app, lambda work: pool.put(work))
        tools = Tools(
            bus=bus, clock=self._clock, vault=vault, media=media.library, policy=rules.policy, stopping=self._stopping,
            tokens=TokenDesk(bus, vault, self._clock, rules.policy.refresh_margin_s, self._stopping),
            figures=self._figures,
        )  # fmt: skip
        sessions = session_parts(self._settings, self._markers, self._clock, self._site)
        jobs = Jobs(
            tools=tools, platforms=rules.platforms, sessions=sessions.jobs(self._settings, tools),
            fetches=media.jobs(self._settings, tools),
        )  # fmt: skip
        pool = WorkerPool(
            self._settings.daemon.workers, jobs.run, bus.work_ended, self._app, self._settings.session.max_concurrent
        )  # fmt: skip
        control = ControlServer(self._settings.control_socket, bus, self._clock, self._app)
        bus.add_publisher(control)
        self._add_bus(bus)
        if broker.settings is not None:
            self._add_gateway(broker.settings, bus)
        serve_http = self._http(bus, platform, media.store)
        if self._safe_mode is None:
            self._add("profiles", sessions.start, lambda _s: None)
        self._add("recovery", lambda: bus.ask(DaemonStarted()), lambda _s: bus.ask(DaemonStopping()))
        self._add("control", control.start, lambda _s: control.stop())
        serve_http()  # before the workers: it is stopped after them, when every session's end has been told
        if (safe := self._safe_mode) is not None:  # nothing works on the ledger
            return lambda: say_safe_mode(safe, self._say)
        self._add_workers(pool, timer, bus)
        self._add("sessions", lambda: None, sessions.stop)
        self._add("intake", lambda: bus.tell(SweepDue()), lambda _s: bus.refuse_new_work())
        return lambda: self._ready(bus, broker, platform)

    def _add_workers(self, pool: WorkerPool, timer: ApschedulerTimer, bus: CoreBus) -> None:
        self._add("workers", pool.start, pool.stop)
        self._add(
            "timer",
            lambda: timer.start(lambda: bus.tell(ClockTicked()), lambda: bus.tell(SweepDue())),
            lambda _s: timer.stop(),
        )
        self._pulse.watch("timer", lambda: timer.last_beat, TIMER_S)
        self._pulse.watch(
            "workers", lambda: self._clock.monotonic() if pool.is_whole else -math.inf, WORKERS_S
        )

    def end(self) -> None:
        """Note that this start ended cleanly, or was refused."""
        if self._starts is not None:
            self._starts.end()

    def _add(self, name: str, start: Callable[[], Any], stop: Callable[[float], Any]) -> None:
        self._app.steps.append(Step(name, start, stop))

    def _stop_children(self) -> None:
        for step in reversed(self._app.steps):
            step.stop(5.0)

    # -- the parts ---------------------------------------------------------------------------------------

    def _broker(self, state_dir: Path) -> _Broker:
        """Return the broker to talk to: our own child, the configured one, or none."""
        mqtt, child = self._settings.mqtt, None
        host, port, username = mqtt.host, mqtt.port, mqtt.username
        password = mqtt.password.get_secret_value() if mqtt.password else None
        if self._options.with_broker:
            child = MosquittoChild(
                state_dir, self._settings.broker.port, self._settings.broker.command,
                self._settings.daemon.node, mqtt.prefix, guest=homeassistant_parts.guest(self._settings),
            )  # fmt: skip
            try:
                child.start()
            except AdapterFailed as error:
                LOG.warning("no broker: %s; the CLI works all the same", error)
                return _Broker(None, None)
            self._add("broker", lambda: None, lambda seconds: child.stop(seconds))
            host, port, username = child.host, child.port, child.daemon_username
            password = child.password_of(username)
            for user in child.users:
                self._redactor.add(child.password_of(user))
        elif not mqtt.is_enabled:
            LOG.info("no broker is configured (mqtt.host): commands come through the control socket only")
            return _Broker(None, None)
        tls = mqtt.tls
        settings = MqttSettings(
            node=self._settings.daemon.node, client_id=self._settings.mqtt_client_id, host=host, port=port,
            unix_socket=None if child else mqtt.unix_socket, username=username, password=password,
            prefix=mqtt.prefix, protocol=mqtt.protocol, keepalive_s=mqtt.keepalive_s,
            session_expiry_s=mqtt.session_expiry_s, will_delay_s=mqtt.will_delay_s,
            tls=TlsSettings(
                enabled=tls.enabled and child is None, ca_file=tls.ca_file, cert_file=tls.cert_file, key_file=tls.key_file,
                verify=tls.verify,
            ),
        )  # fmt: skip
        return _Broker(settings, child)

    def _platform(self, state_dir: Path) -> TikTokUploader:
        if not self._options.simulate:
            return TikTokUploader(tiktok_settings(self._settings), self._clock)
        self._simulator = child = SimulatorChild(state_dir / "simulator", self._settings.simulator.port)
        try:
            child.start()
        except (OSError, RuntimeError) as error:
            raise AdapterFailed(str(error)) from error
        self._add("simulator", lambda: None, child.stop)
        self._parts["simulator"] = lambda: {"ok": child.pid is not None, "url": child.url}
        simulated = replace(
            tiktok_settings(self._settings), api_base=child.url, authorize_url=f"{child.url}/v2/auth/authorize/",
            client_key=CLIENT_KEY, client_secret=CLIENT_SECRET,
        )  # fmt: skip
        return TikTokUploader(simulated, self._clock)

    def _rules(
        self, platform: TikTokUploader, media: MediaProbe, vault: FernetVault, *, has_broker: bool
    ) -> Rules:
        return Rules(
            node=NodeName(self._settings.daemon.node), boot=self._boot, version=self._version,
            started_at=self._started_at, policy=self._policy(), platforms={platform.name: platform},
            media=media, vault=vault, ids=self._ids, random=random.random, health=self._health, has_broker=has_broker,
            gates=gates_of(self._settings), gate=self._gate, redact=self._redactor.clean_known, figures=self._figures,
            # what a blind daemon would introduce is less than what stands there
            introducer=homeassistant_parts.introducer(self._settings) if has_broker and not self._is_blind else None,
            safe_mode=self._safe_mode, set_log_level=set_level,
        )  # fmt: skip

    def _store(self, rules: Rules) -> SqlStore:
        store = ledger_store(
            self._settings, self._safe_mode, has_broker=rules.has_broker, redact=self._redactor.clean_known,
            figures=self._figures,
        )  # fmt: skip
        self._figures.watch(Look.WAL_BYTES, store.wal_bytes)
        return store

    def _policy(self) -> Policy:
        return replace(
            policy_of(self._settings), sessions=session_policy(self._settings, self._markers, self._site)
        )

    @property
    def _is_blind(self) -> bool:
        return self._safe_mode is not None and self._safe_mode.is_blind

    @property
    def _site(self) -> str | None:
        """The simulated website, unless the settings name another page."""
        is_default = self._settings.session.tiktok_url == SessionSettings().tiktok_url
        return f"{self._simulator.url}/" if self._simulator is not None and is_default else None

    def _health(self) -> dict[str, Any]:
        return {name: look() for name, look in self._parts.items()}

    def _add_bus(self, bus: CoreBus) -> None:
        self._add("bus", bus.start, bus.stop)
        self._parts["bus"] = lambda: {"ok": self._clock.monotonic() - bus.last_beat < BUS_S}
        self._pulse.join(bus, lambda: bus.last_beat, self._app.wake)

    def _add_gateway(self, settings: MqttSettings, bus: CoreBus) -> None:
        gateway = MqttGateway(
            settings, bus, self._clock, self._boot, self._info, lambda error: self._app.died("mqtt", error),
            on_secret=self._redactor.add, pass_point=failpoints.hit,
            neighbour=homeassistant_parts.birth(self._settings),
            on_left_out=lambda count: self._figures.count(Tally.LEFT_OUT, by=count),
        )  # fmt: skip
        bus.add_publisher(gateway)
        self._add("mqtt", gateway.start, gateway.stop)
        self._pulse.watch("mqtt", lambda: gateway.last_beat, MQTT_S)

        def look() -> dict[str, Any]:
            status = gateway.status()
            return {"ok": bool(status.get("connected")) and status.get("self_test") is not False, **status}

        self._parts["mqtt"] = look
        self._figures.watch(Look.BROKER, lambda: float(bool(gateway.status().get("connected"))))

    def _http(self, bus: CoreBus, platform: TikTokUploader, store: MediaStore | None) -> Callable[[], None]:
        """Build the HTTP adapter where it has a port; return what adds its step, in its place."""
        if (port := self._settings.http.port) is None:
            return lambda: None
        with without_collections():
            from daemon.http_parts import http_server  # noqa: PLC0415 - costs half a second, only where it is used

        gate, store = doors_of(self._gate, store, self._safe_mode)
        server = http_server(
            self._settings, port, self._version, bus, self._clock, gate, self._app,
            hints=platform, figures=self._figures,
            loops=lambda: {"bus": self._clock.monotonic() - bus.last_beat}, is_stopping=self._stopping.is_set,
            store=store,
        )  # fmt: skip
        bus.add_publisher(server)
        self._parts["http"] = server.status
        self._pulse.watch("http", lambda: server.last_beat, HTTP_S)

        def start() -> None:
            self._gate.open()
            server.start()

        return lambda: self._add("http", start, server.stop)

    def _info(self) -> dict[str, Any]:
        return {
            "name": "tokd", "version": self._version, "protocol": PROTOCOL, "node": self._settings.daemon.node,
            "verbs": sorted(name for name, verb in VERBS.items() if not verb.is_local),
            "limits": {"bytes": MAX_BYTES}, "schema": asyncapi.fingerprint(),
        }  # fmt: skip

    def _ready(self, bus: CoreBus, broker: _Broker, platform: TikTokUploader) -> None:
        if self._simulator is not None:
            first_run.link_demo(bus, platform, self._simulator, self._clock)
        took = self._clock.now() - self._started_at
        LOG.info("ready after %d ms", took / timedelta(milliseconds=1))
        first_run.say_hello(
            self._say,
            child=broker.child,
            simulator=self._simulator,
            is_configured=platform.is_configured(),
            advice=platform.advice_if_not_configured(),
            prefix=self._settings.mqtt.prefix,
            node=self._settings.daemon.node,
        )
