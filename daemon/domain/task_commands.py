"""The orders about tasks, one frozen model for each verb; `commands.py` has the table."""

from datetime import UTC, datetime
from typing import Annotated, Any

from pydantic import AliasChoices, AwareDatetime, Field, StringConstraints, field_validator

from daemon.domain.command import AccountArg, Address, Command, TaskArg
from daemon.domain.events import as_json
from daemon.domain.post import Mode
from daemon.domain.task import LogStatus, TaskStatus
from daemon.domain.times import NOW_WORD

DETAILS_MAX = 2000
InstanceArg = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9_-][A-Za-z0-9._:-]{0,127}$")]
Word = Annotated[str, StringConstraints(min_length=1, max_length=100)]
Text = Annotated[str, StringConstraints(max_length=8000)]


class StepArg(Command):
    """One step of a plan or of its execution."""

    id: Word
    title: Annotated[str, StringConstraints(min_length=1, max_length=300)]
    description: Annotated[str, StringConstraints(max_length=2000)] = ""
    status: Word = "pending"


class LogArg(Command):
    """A line for the task's log; without a timestamp it is of now."""

    timestamp: AwareDatetime | None = None
    agent_name: Word
    action: Word
    status: LogStatus = LogStatus.INFO
    message: Annotated[str, StringConstraints(max_length=1000)] = ""
    details: dict[str, Any] | None = None

    @field_validator("timestamp")
    @classmethod
    def _is_an_instant(cls, value: datetime | None) -> datetime | None:
        try:
            return value and value.astimezone(UTC)
        except OverflowError as error:
            raise ValueError("is no time of this calendar") from error

    @field_validator("details")
    @classmethod
    def _is_short(cls, value: dict[str, Any] | None) -> dict[str, Any] | None:
        if value is not None and len(as_json(value)) > DETAILS_MAX:
            raise ValueError(f"has more than {DETAILS_MAX} characters")
        return value


class OutputArg(Command):
    """What the other service has made. The video lies below a media root, or at an address."""

    video_url: Address | None = None
    video_path: Annotated[str, StringConstraints(min_length=1, max_length=1024)] | None = None
    caption: Text | None = None


Steps = Annotated[tuple[StepArg, ...], Field(max_length=100)]
Lines = Annotated[tuple[LogArg, ...], Field(max_length=50)]


class SubmitTask(Command):
    """Tell of another service's work, finished or not. It belongs to the caller and to an instance."""

    instance_id: InstanceArg
    description: Text = ""
    status: TaskStatus = TaskStatus.SUBMITTED
    planning_steps: Steps = ()
    execution_steps: Steps = ()
    logs: Lines = ()
    output_data: OutputArg = OutputArg()


class UpdateTask(Command):
    """Tell how the work goes on: what is given replaces what was, `logs` are added, `output_data` is merged."""

    task: TaskArg
    description: Text | None = None
    status: TaskStatus | None = None
    planning_steps: Steps | None = None
    execution_steps: Steps | None = None
    logs: Lines = ()
    output_data: OutputArg | None = None


class ShowTask(Command):
    """Tell everything about one task, and how far its post is."""

    task: TaskArg


class ListTasks(Command):
    """Tell the caller's tasks, newest first; `cursor` continues a list."""

    instance_id: InstanceArg | None = None
    status: TaskStatus | None = None
    cursor: Annotated[str, StringConstraints(max_length=200)] | None = None
    limit: int = Field(default=50, ge=1, le=200)


class PostTask(Command):
    """Post a completed task's video, now or at a time; once, unless that post fails or is cancelled."""

    task: TaskArg
    account: AccountArg | None = Field(default=None, validation_alias=AliasChoices("account", "account_id"))
    title: Text | None = None
    privacy_level: Annotated[str, StringConstraints(max_length=64)] | None = Field(
        default=None, validation_alias=AliasChoices("privacy_level", "privacy")
    )
    disable_duet: bool = True
    disable_stitch: bool = True
    disable_comment: bool = True
    brand_content_toggle: bool = False
    brand_organic_toggle: bool = False
    is_aigc: bool = False
    video_cover_timestamp_ms: int | None = Field(default=None, ge=0, le=2**31 - 1)
    schedule_time: Annotated[str, StringConstraints(max_length=64)] | None = None
    zone: Annotated[str, StringConstraints(max_length=64)] | None = None
    mode: Mode = Mode.DIRECT
    consent_by: Annotated[str, StringConstraints(min_length=1, max_length=200)] | None = None

    @property
    def acts_at_once(self) -> bool:
        """Whether it is to go out now."""
        return self.schedule_time in {None, NOW_WORD}
