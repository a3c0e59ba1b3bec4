"""The Home Assistant adapter, as the composition root puts it together."""

import importlib.metadata

from adapters.broker.files import Guest
from adapters.homeassistant import Birth, HomeAssistant, HomeAssistantSettings
from config.settings import Settings
from daemon.domain.topics import Topics

_SWEEP_S = 300  # the timer's: at each sweep the daemon's state is published


def introducer(settings: Settings) -> HomeAssistant:
    """Return what puts tokd into Home Assistant's words. With discovery off it only takes back what it has said."""
    found = settings.homeassistant
    return HomeAssistant(
        Topics(settings.mqtt.prefix, settings.daemon.node),
        HomeAssistantSettings(
            mode=found.discovery, prefix=found.prefix, actor=found.actor, screenshots=found.screenshots,
            heartbeat_s=_SWEEP_S, url=_support_url(),
        ),
    )  # fmt: skip


def birth(settings: Settings) -> Birth | None:
    """Return what notices that Home Assistant has started, None where nobody wants to know."""
    found = settings.homeassistant
    if found.discovery == "off":
        return None
    return Birth(found.status_topic, (found.birth_delay_s[0], found.birth_delay_s[1]))


def guest(settings: Settings) -> Guest | None:
    """Return what Home Assistant may do at a broker of ours, None where it is not expected."""
    found = settings.homeassistant
    return None if found.discovery == "off" else Guest(found.actor, found.prefix, found.status_topic)


def _support_url() -> str | None:
    """Return the project's address from the package's own description, if it names one."""
    urls = importlib.metadata.metadata("tokd").get_all("Project-URL") or []
    return next((str(found).partition(",")[2].strip() for found in urls), None)
