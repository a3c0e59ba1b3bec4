"""The person's browser profiles on disk, and the throw-away clones of them that sessions work in."""

from adapters.profiles.ground import CLONES_SETTING, ROOT_SETTING, Trouble
from adapters.profiles.settings import ProfilesSettings
from adapters.profiles.store import ProfileStore

__all__ = ["CLONES_SETTING", "ROOT_SETTING", "ProfileStore", "ProfilesSettings", "Trouble"]
