"""The templates that Home Assistant renders: what it reads from our messages, and the commands it sends.

They are Jinja, in Home Assistant's sandbox. A cleared state comes as an empty message, for which there is no
`value_json`: each template that reads a state minds that. A state is at most 255 characters long.
"""

from typing import Any

from daemon.domain.events import as_json

LONGEST_STATE = 255
FRESH_S = 120  # a press that reaches tokd later than that is not carried out


def state(expression: str) -> str:
    """Return a template for the value of an expression over `value_json`; null is shown as unknown."""
    return f"{{{{ ({expression}) if value_json is defined else None }}}}"


def text(expression: str) -> str:
    """Return a template for a text that may be long."""
    return state(f"({expression} | string)[:{LONGEST_STATE}]")


def on_off(condition: str) -> str:
    """Return a template that gives ON and OFF."""
    return state(f"'ON' if {condition} else 'OFF'")


def attributes(expression: str) -> str:
    """Return a template that gives a JSON object with attributes; an empty one where there is nothing to tell."""
    return f"{{{{ (({expression}) or {{}} if value_json is defined else {{}}) | tojson }}}}"


def available(condition: str) -> str:
    """Return a template that gives `online` and `offline`."""
    return f"{{{{ 'online' if value_json is defined and {condition} else 'offline' }}}}"


def event(condition: str) -> str:
    """Return a template that turns a CloudEvent of ours into an event of an event entity; nothing for others'."""
    return (
        f"{{% if {condition} %}}"
        "{{ dict(value_json.data, event_type=value_json.type.split('.')[-1]) | tojson }}"
        "{% endif %}"
    )


def command(key: str, args: dict[str, Any]) -> str:
    """Return a template that gives a command with an id of its own for each press.

    Without one, each press would have the same bytes as the last one and could not be told from a repeat of it.
    """
    unique = "{{ (now().timestamp() * 1000000) | int }}-{{ range(1000, 10000) | random }}"
    until = f"{{{{ (now() + timedelta(seconds={FRESH_S})).isoformat() }}}}"
    return f'{{"id":"ha-{key}-{unique}","expires_at":"{until}","args":{as_json(args)}}}'


def positions(args: dict[str, Any]) -> dict[str, str]:
    """Return what a switch sends for its positions, and how it shows them.

    No template, which switches have not had before 2024.11, and so no id: to pause twice is to pause.
    """
    on, off = (as_json({"args": args | {"on": position}}) for position in (True, False))
    return {"payload_on": on, "payload_off": off, "state_on": "ON", "state_off": "OFF"}
