"""What may become of a task: its status, its caption, its post, its log. Values in, values out."""

from dataclasses import replace
from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from daemon.domain.errors import IllegalMove
from daemon.domain.events import EventType
from daemon.domain.ids import Actor, PostId, TaskId
from daemon.domain.post import State
from daemon.domain.task import (
    CAPTION_UNITS_MAX,
    LOGS_MAX,
    MOVES,
    LogLine,
    LogStatus,
    Output,
    Task,
    TaskStatus,
    can_post,
    cut_at_word,
    follow,
    may_see,
    move,
    owner_of,
    suggested_caption,
    with_logs,
)  # fmt: skip
from daemon.domain.task_views import PostStatus, post_status, post_status_view, task_detail, task_view
from tests.fakes.values import NOW, a_post, an_address_post

ALLOWED = {
    ("submitted", "running"), ("submitted", "completed"), ("submitted", "failed"), ("running", "completed"),
    ("running", "failed"),
}  # fmt: skip


def a_task(**changes: object) -> Task:
    found = Task(
        id=TaskId("t_1"), user="ann", instance_id="gen-1", description="A cat on a piano", created_at=NOW,
        updated_at=NOW, command_id="c-1", status=TaskStatus.COMPLETED, output=Output(video_path="cat.mp4"),
    )  # fmt: skip
    return replace(found, **changes)  # type: ignore[arg-type]


def units(text: str) -> int:
    return len(text.encode("utf-16-le", "surrogatepass")) // 2


def a_line(number: int) -> LogLine:
    return LogLine(timestamp=NOW, agent_name="a", action="x", status=LogStatus.INFO, message=str(number))


# -- status --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("to", TaskStatus)
@pytest.mark.parametrize("was", TaskStatus)
def test_only_the_moves_of_the_table_are_possible(was: TaskStatus, to: TaskStatus) -> None:
    task = a_task(status=was)

    if was is to:
        assert move(task, to) is task
    elif (was.value, to.value) in ALLOWED:
        assert move(task, to).status is to
    else:
        with pytest.raises(IllegalMove):
            move(task, to)


def test_every_status_stands_in_the_table() -> None:
    assert set(MOVES) == set(TaskStatus)


# -- what may be posted --------------------------------------------------------------------------------------


@pytest.mark.parametrize("status", TaskStatus)
def test_only_a_completed_task_can_be_posted(status: TaskStatus) -> None:
    assert can_post(a_task(status=status), None) is (status is TaskStatus.COMPLETED)


@pytest.mark.parametrize(
    ("output", "is_enough"),
    [
        (Output(), False),
        (Output(caption="only words"), False),
        (Output(video_path="a.mp4"), True),
        (Output(video_url="https://a.example/v.mp4"), True),
    ],
)
def test_only_a_task_with_a_video_can_be_posted(output: Output, is_enough: bool) -> None:
    assert can_post(a_task(output=output), None) is is_enough


@pytest.mark.parametrize("state", State)
def test_a_task_can_be_posted_again_only_after_a_failed_or_cancelled_post(state: State) -> None:
    assert can_post(a_task(), a_post(state=state)) is (state in {State.FAILED, State.CANCELLED})


# -- the caption ---------------------------------------------------------------------------------------------


def test_the_caption_of_the_output_is_suggested() -> None:
    assert suggested_caption(a_task(output=Output(caption=" Meow "))) == "Meow"


@pytest.mark.parametrize("caption", [None, "", "  \n"])
def test_without_a_caption_the_description_is_suggested(caption: str | None) -> None:
    assert suggested_caption(a_task(output=Output(caption=caption))) == "A cat on a piano"


def test_a_caption_of_just_the_length_stays_whole() -> None:
    caption = "x" * CAPTION_UNITS_MAX

    assert suggested_caption(a_task(output=Output(caption=caption))) == caption


@pytest.mark.parametrize(
    ("text", "most", "wanted"),
    [
        pytest.param("one two three", 13, "one two three", id="whole"),
        pytest.param("one two three", 12, "one two", id="in a word"),
        pytest.param("one two three", 8, "one two", id="after the space"),
        pytest.param("one two three", 7, "one two", id="before the space"),
        pytest.param("one two three", 6, "one", id="in the second word"),
        pytest.param("one\n\ntwo", 6, "one", id="line breaks"),
        pytest.param("aword", 3, "awo", id="one long word"),
        pytest.param("🎹🎹🎹", 5, "🎹🎹", id="never half a letter"),
        pytest.param("go 🎹🎹🎹", 7, "go", id="two units each"),
        pytest.param("", 3, "", id="nothing"),
    ],
)
def test_a_text_is_cut_at_a_word(text: str, most: int, wanted: str) -> None:
    assert cut_at_word(text, most) == wanted


@given(st.text(), st.integers(1, 40))
def test_a_cut_text_is_a_beginning_that_fits(text: str, most: int) -> None:
    found = cut_at_word(text, most)

    assert text.startswith(found)
    assert units(found) <= most


# -- whose it is ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("actor", "owner"),
    [
        ("http:ann", "ann"),
        ("ann", "ann"),
        ("local", "local"),
        ("http:local", "http:local"),
        ("http:_self", "http:_self"),
    ],
)
def test_the_owner_is_the_user_behind_the_actor(actor: str, owner: str) -> None:
    assert owner_of(Actor(actor)) == owner


@pytest.mark.parametrize(
    ("actor", "sees"),
    [
        ("http:ann", True),
        ("ann", True),
        ("local", True),
        ("http:bob", False),
        ("bob", False),
        ("http:local", False),
    ],
)
def test_a_task_is_seen_by_its_owner_and_at_the_machine(actor: str, sees: bool) -> None:
    assert may_see(Actor(actor), a_task()) is sees


# -- its log -------------------------------------------------------------------------------------------------


def test_the_newest_lines_of_a_log_stay() -> None:
    task = with_logs(a_task(), *(a_line(number) for number in range(LOGS_MAX + 3)))

    assert (len(task.logs), task.logs[0].message, task.logs[-1].message) == (LOGS_MAX, "3", str(LOGS_MAX + 2))


@pytest.mark.parametrize(
    ("event", "status"),
    [
        (EventType.POST_SCHEDULED, "info"),
        (EventType.POST_PUBLISHED, "success"),
        (EventType.POST_SENT_TO_INBOX, "success"),
        (EventType.POST_UNCERTAIN, "warning"),
        (EventType.POST_FAILED, "error"),
    ],
)
def test_news_of_the_post_is_a_line_of_its_kind(event: EventType, status: str) -> None:
    task = follow(a_task(post=PostId("p_1")), a_post(), event, NOW + timedelta(1))

    (line,) = task.logs
    assert (line.status, line.agent_name, line.action) == (status, "tokd", event.value)
    assert (task.version, task.updated_at) == (2, NOW + timedelta(1))


def test_a_line_says_why() -> None:
    post = a_post(state=State.FAILED, reason="spam_risk", detail="TikTok says no")

    (line,) = follow(a_task(post=PostId("p_1")), post, EventType.POST_FAILED, NOW).logs

    assert line.message == "the post has failed: TikTok says no"
    assert line.details is not None
    assert (line.details["state"], line.details["reason"]) == ("failed", "spam_risk")


@pytest.mark.parametrize(
    ("post", "event"),
    [
        pytest.param("p_1", EventType.POST_PROGRESS, id="a step on the way"),
        pytest.param("p_0", EventType.POST_FAILED, id="an earlier post"),
    ],
)
def test_what_is_no_news_changes_nothing(post: str, event: EventType) -> None:
    task = a_task(post=PostId("p_1"))

    assert follow(task, a_post(post), event, NOW) is task


# -- how it looks --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("state", "status"),
    [
        (State.SCHEDULED, "SCHEDULED"),
        (State.HELD, "SCHEDULED"),
        (State.CLAIMED, "PROCESSING"),
        (State.UPLOADING, "PROCESSING"),
        (State.RETRY_WAIT, "PROCESSING"),
        (State.PROCESSING, "PROCESSING"),
        (State.PUBLISHED, "PUBLISHED"),
        (State.SENT_TO_INBOX, "INBOX"),
        (State.UNCERTAIN, "UNCERTAIN"),
        (State.FAILED, "FAILED"),
        (State.CANCELLED, "FAILED"),
    ],
)
def test_a_state_has_one_word_for_the_owner(state: State, status: str) -> None:
    assert post_status(a_post(state=state)) == status


def test_every_state_has_a_word() -> None:
    assert {post_status(a_post(state=state)) for state in State} == set(PostStatus)


@pytest.mark.parametrize(
    ("state", "reason", "wanted"),
    [
        (State.FAILED, "spam_risk", "spam_risk"),
        (State.CANCELLED, None, "cancelled"),
        (State.UNCERTAIN, "timeout", "timeout"),
        (State.HELD, "needs_login", None),
        (State.PUBLISHED, "resolved_published", None),
        (State.RETRY_WAIT, "internal", None),
    ],
)
def test_a_fail_reason_stands_only_where_something_is_wrong(
    state: State, reason: str | None, wanted: str | None
) -> None:
    assert post_status_view(a_post(state=state, reason=reason))["fail_reason"] == wanted


def test_the_bytes_of_an_upload_are_counted_and_those_of_a_fetch_are_not() -> None:
    assert post_status_view(a_post(sent_bytes=20))["uploaded_bytes"] == 20
    assert post_status_view(an_address_post())["uploaded_bytes"] == 0


def test_a_task_without_a_post_says_so_in_every_field() -> None:
    found = task_detail(a_task(), None)

    assert found["can_post_to_tiktok"] is True
    assert {
        found[name]
        for name in (
            "post", "tiktok_post_status", "tiktok_publish_id", "tiktok_post_url", "tiktok_post_data",
            "scheduled_post_time", "post_status",
        )
    } == {None}  # fmt: skip


def test_a_task_shows_where_its_post_is() -> None:
    post = a_post(
        state=State.PUBLISHED, publish_id="v_1", url="https://www.tiktok.com/@ada/video/7", public_ids=("7",)
    )

    found = task_view(a_task(post=PostId("p_1")), post)

    assert (found["tiktok_post_status"], found["tiktok_publish_id"]) == ("PUBLISHED", "v_1")
    assert found["tiktok_post_url"] == "https://www.tiktok.com/@ada/video/7"
    assert found["scheduled_post_time"] == "2026-12-01T09:00:00.000Z"
    assert found["can_post_to_tiktok"] is False
