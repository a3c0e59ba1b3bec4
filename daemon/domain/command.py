"""What all orders have in common: their parent, and the shapes of the names that stand in them."""

from typing import Annotated

from pydantic import BaseModel, ConfigDict, StringConstraints

AccountArg = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9_-][A-Za-z0-9._-]{0,63}$")]
PostArg = Annotated[str, StringConstraints(pattern=r"^p_[A-Za-z0-9]{1,40}$")]
TaskArg = Annotated[str, StringConstraints(pattern=r"^t_[A-Za-z0-9]{1,40}$")]
ProfileArg = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9_-][A-Za-z0-9._-]{0,63}$")]
SessionArg = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{16}$")]
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
