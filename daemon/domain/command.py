"""What all orders have in common: their parent, and the shapes of the names that stand in them."""

from typing import Annotated

from pydantic import BaseModel, ConfigDict, StringConstraints

_NAME = r"^[A-Za-z0-9_-][A-Za-z0-9._-]{0,63}$"
_POST = r"^p_[A-Za-z0-9]{1,40}$"
_TASK = r"^t_[A-Za-z0-9]{1,40}$"
_SESSION = r"^[0-9a-f]{16}$"
# What a person is told who gives something else.
PATTERNS_IN_WORDS = {
    _NAME: "must be a name of 1 to 64 plain letters, digits and ._-, not beginning with a dot",
    _POST: "must be a post's id, such as p_7Kd2; post/list tells them",
    _TASK: "must be a task's id, such as t_7Kd2; task/list tells them",
    _SESSION: "must be a session's id, 16 of the letters 0-9 and a-f; session/list tells them",
}
AccountArg = Annotated[str, StringConstraints(pattern=_NAME)]
PostArg = Annotated[str, StringConstraints(pattern=_POST)]
TaskArg = Annotated[str, StringConstraints(pattern=_TASK)]
ProfileArg = Annotated[str, StringConstraints(pattern=_NAME)]
SessionArg = Annotated[str, StringConstraints(pattern=_SESSION)]
# Whoever checks by the published pattern may count other characters as \s than we do: these are named for both.
Hashtag = Annotated[str, StringConstraints(pattern=r"^#?[^\s\u001c-\u001f\u0085\u180e\ufeff#@]{1,100}$")]
Address = Annotated[str, StringConstraints(min_length=1, max_length=2048)]


class Command(BaseModel):
    """The parent of all commands: frozen, and an unknown field is an error."""

    model_config = ConfigDict(extra="forbid", frozen=True, populate_by_name=True)

    @property
    def acts_at_once(self) -> bool:
        """Whether it does something that others see the moment it arrives: stale, it is not wanted any more."""
        return False
