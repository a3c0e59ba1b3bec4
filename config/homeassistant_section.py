"""The section of Home Assistant: every key with its type, bounds, default and one sentence."""

import re
from typing import Annotated, Literal

from pydantic import AfterValidator, Field, field_validator

from config.sections import Flag, Number, Section

_LEVEL = re.compile(r"[A-Za-z0-9_-]+")


def _check_topic(topic: str) -> str:
    if not all(_LEVEL.fullmatch(level) for level in topic.split("/")) or len(topic) > 128:  # noqa: PLR2004
        raise ValueError('must be topic levels like "homeassistant/status": letters, digits, "_" and "-"')
    return topic


Topic = Annotated[str, AfterValidator(_check_topic)]


class HomeAssistantSettings(Section):
    """What Home Assistant is told, over the same broker."""

    discovery: Literal["device", "component", "off"] = Field(
        "device",
        description="How devices and entities are announced: device needs Home Assistant 2024.11, component is "
        "understood by older ones, off takes back what was announced.",
    )
    prefix: Topic = Field(
        "homeassistant", description="Discovery prefix, as in Home Assistant's MQTT options."
    )
    actor: str = Field(
        "homeassistant",
        pattern=r"^[A-Za-z0-9-][A-Za-z0-9._-]{0,63}$",
        description="User name of Home Assistant at the broker: it may send commands under this name only.",
    )
    status_topic: Topic = Field(
        "homeassistant/status", description='Where Home Assistant says "online" when it has started.'
    )
    birth_delay_s: tuple[Number, ...] = Field(
        (1, 5),
        min_length=2,
        max_length=2,
        description="Seconds after that, at random between the two, at which everything is said again.",
    )
    screenshots: Flag = Field(
        False, description="Publish pictures of sessions to the broker and offer them as image entities."
    )

    @field_validator("birth_delay_s")
    @classmethod
    def _check_delay(cls, value: tuple[float, ...]) -> tuple[float, ...]:
        if not 0 <= value[0] <= value[1] <= 300:  # noqa: PLR2004
            raise ValueError("must be two numbers of seconds, the smaller one first, at most 300")
        return value
