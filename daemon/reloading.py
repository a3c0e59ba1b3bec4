"""SIGHUP: the settings are read again. What can change while the daemon runs changes; the rest is named."""

import functools
import logging
from collections.abc import Callable

from config.catalogue import keys
from config.load import Loaded
from config.logging import Redactor, set_level
from config.problems import ConfigError
from config.settings import Settings

LOG = logging.getLogger("tokd.reload")
AT_ONCE = frozenset({"log.level"})


class Reloader:
    """Called by the main thread; raises nothing, for a bad file must not end a daemon that runs."""

    def __init__(self, read: Callable[[], Loaded], loaded: Loaded, redactor: Redactor) -> None:
        self._read = read
        self._started_with = loaded
        self._redactor = redactor

    def __call__(self) -> None:
        """Read the settings again and act on them, or keep the old ones; either way the log says what is so now."""
        try:
            loaded = self._read()
        except ConfigError as error:
            for problem in error.problems:
                LOG.error("%s", problem)  # noqa: TRY400 - the sentence is all a person needs
            LOG.error("not reloaded, for the mistakes above; the old settings stay in use")  # noqa: TRY400
            return
        except Exception:
            LOG.exception("not reloaded: the settings cannot be read; the old settings stay in use")
            return
        for secret in loaded.settings.secret_values:
            self._redactor.add(secret)
        set_level(loaded.settings.log.level)
        before = self._started_with
        waiting = [name for name in changed(before.settings, loaded.settings) if name not in AT_ONCE]
        if before.markers != loaded.markers:
            waiting.append("the login markers")
        for warning in loaded.warnings:
            LOG.warning("%s", warning)
        if waiting:
            LOG.warning("reloaded; these need a restart to count: %s", ", ".join(waiting))
        else:
            LOG.warning("reloaded; log.level is %s", loaded.settings.log.level)


def changed(old: Settings, new: Settings) -> list[str]:
    """Return the names of the settings that differ, without their values."""
    return sorted(name for name in keys() if _value(old, name) != _value(new, name))


def _value(settings: Settings, name: str) -> object:
    return functools.reduce(getattr, name.split("."), settings)
