"""What must be published so that Home Assistant shows exactly the facts, and forgets what is no more."""

from collections.abc import Iterator, Mapping

from adapters.homeassistant.cards import Card, cards
from adapters.homeassistant.settings import HomeAssistantSettings
from daemon.domain.events import as_json
from daemon.domain.introduction import Facts, Introduced, Told
from daemon.ports import Places

CLEARED = ""
MIGRATE = as_json({"migrate_discovery": True})


class HomeAssistant:
    """Implements ports.Introducer."""

    def __init__(self, places: Places, settings: HomeAssistantSettings) -> None:
        self._places = places
        self._settings = settings

    def introduce(self, facts: Facts, before: Mapping[str, Told], *, again: bool) -> Introduced:
        """Return the messages in their order, and how the ledger changes."""
        wanted = {card.topic: card for card in cards(facts, self._places, self._settings)}
        gone = [topic for topic in before if topic not in wanted]
        moved = [topic for topic in gone if _is_moved(topic, wanted)]
        messages = [(topic, MIGRATE) for topic in moved]  # it keeps the entities while they move
        told: dict[str, Told | None] = {}
        for topic, card in wanted.items():
            known = before.get(topic)
            if again or known is None or known.digest != card.digest:
                messages += _said(card, known)
                told[topic] = Told(card.components, card.digest)
        messages += [(topic, CLEARED) for topic in gone]
        return Introduced(tuple(messages), told | dict.fromkeys(gone))


def _said(card: Card, known: Told | None) -> Iterator[tuple[str, str]]:
    before = known.components if known is not None else {}
    lost = {key: platform for key, platform in before.items() if card.components.get(key) != platform}
    if lost:
        yield card.topic, card.with_removed(lost)
    yield card.topic, card.payload


def _is_moved(topic: str, wanted: Mapping[str, Card]) -> bool:
    """Tell whether the device of this topic is announced in the other way now (device and component)."""
    parts = topic.split("/")
    if parts[-3] == "device":  # <prefix>/device/<device>/config
        return any(
            f"/{parts[-2]}/" in other and not other.endswith(f"/device/{parts[-2]}/config")
            for other in wanted
        )
    # <prefix>/<platform>/<device>/<key>/config
    card = next(
        (card for other, card in wanted.items() if other.endswith(f"/device/{parts[-3]}/config")), None
    )
    return card is not None and card.components.get(parts[-2]) == parts[-4]
