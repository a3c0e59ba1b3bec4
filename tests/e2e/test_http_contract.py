"""The REST contract, row by row: a running daemon, real browsers, the simulator's site and its TikTok.

Browsers are dear, so everything that needs one is asked once, in one fixture for each way tokd is set up; the tests
look at the answers. What needs no browser and no daemon of its own stands in tests/integration/test_http_*.py.
"""

import re
import subprocess
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from tests.brokers import free_port
from tests.daemons import Simulator, make_clip
from tests.e2e.doors import Answer, ask, await_port
from tests.e2e.session_stage import SessionStage, sessions
from tests.integration import browser_stage
from tests.waiting import wait_until

PAGE = "https://app.example.com"
LATER = (datetime.now(UTC) + timedelta(days=30)).isoformat()
Answers = dict[str, Answer]


class House:
    """A daemon with HTTP, and two users of it."""

    def __init__(self, stage: SessionStage) -> None:
        self.stage = stage
        self.port = int(stage.daemon.settings["http.port"])
        await_port(self.port)
        self.tokens = {user: self._token(user) for user in ("ann", "bob")}

    def _token(self, user: str) -> str:
        reply = self.stage.daemon.call("token/issue", {"user": user})
        assert reply["status"] == "done", reply
        return str(reply["result"]["text"])

    def ask(
        self, method: str, path: str, body: object = None, *, user: str = "ann", **headers: str
    ) -> Answer:
        """Send a request from a page that may call."""
        return ask(self.port, self.tokens[user], method, path, body, Origin=PAGE, **headers)

    def post(self, path: str, body: object = None, **more: Any) -> Answer:
        return self.ask("POST", path, body, **more)

    def get(self, path: str, **more: Any) -> Answer:
        return self.ask("GET", path, **more)

    def end(self, session: str) -> Answer:
        """Close a session, and return once nothing is left of it."""
        answer = self.ask("DELETE", f"/tiktok/session/{session}")
        self.stage.end_of(session)
        return answer


@contextmanager
def house(
    site: str, profile: Path, screen: browser_stage.Screen | None = None, simulator: Simulator | None = None,
    **settings: str,
) -> Iterator[House]:  # fmt: skip
    """Put one up; keywords are settings of the section `session`."""
    with sessions(site, profile, screen, start=False, **settings) as stage:
        stage.daemon.settings |= {"http.port": str(free_port()), "http.cors_origins": f'["{PAGE}"]'}
        if simulator is not None:
            stage.daemon.use_simulator(simulator)
        yield House(stage.daemon.start() and stage)


@pytest.fixture(scope="module")
def main(simulated: Simulator, logged_in: Path) -> Iterator[House]:
    """Windows on a screen, two at a time."""
    with (
        browser_stage.screen() as screen,
        house(simulated.url, logged_in, screen, simulated, headless="false", max_concurrent="2") as found,
    ):
        yield found


# -- sessions ------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def two(main: House) -> Answers:
    """A session on TikTok and one on another page, all that can be asked of them, and a third order."""
    found = {"open": main.post("/tiktok/session")}
    session = found["open"].body["session_id"]
    found["browse"] = main.post("/browse", {"url": main.stage.page("conflict"), "timeout_seconds": 60})
    found |= {
        "one too many": main.post("/tiktok/session"),
        "list": main.get("/tiktok/sessions"),
        "show": main.get(f"/tiktok/session/{session}"),
        "extend": main.post(f"/tiktok/session/{session}/extend", {"seconds": 1200}),
        "extend by nothing": main.post(f"/tiktok/session/{session}/extend", {"seconds": 0}),
        "of somebody else": main.get(f"/tiktok/session/{session}", user="bob"),
        "any field": main.post("/tiktok/session", {"url": "https://www.tiktok.com/"}),
        "browse nowhere": main.post("/browse", {"url": "ftp://a.example"}),
        "unknown": main.get(f"/tiktok/session/{'f' * 16}"),
        "no token": ask(main.port, "none", "POST", "/tiktok/session", Origin=PAGE),
    }
    found["close"] = main.end(session)
    found["close again"] = main.end(session)
    found["browse as nobody"] = main.post("/browse", {"url": "https://a.example", "profile": "nobody"})
    found["extend too late"] = main.post(f"/tiktok/session/{session}/extend", {"seconds": 60})
    main.end(found["browse"].body["session_id"])
    return found


@pytest.fixture(scope="module")
def closed(main: House, two: Answers) -> Answers:
    """Two callers who wait until the window is closed: a person closes one, the other browser is killed."""
    del two  # they are over
    found = {}
    with ThreadPoolExecutor(1) as later:
        for name in ("by the person", "by a crash"):
            answer = later.submit(main.post, "/tiktok/session?wait=closed")
            session = wait_until(
                lambda: [one["session"] for one in main.stage.sessions() if one["state"] == "open"], 30
            )[0]
            if name == "by the person":
                main.stage.close_window(session)
            else:
                subprocess.run(["kill", "-9", str(main.stage.browser(session))], check=True)
            found[name] = answer.result(30)
            main.stage.end_of(session)
    return found


@pytest.fixture(scope="module")
def login(main: House, closed: Answers) -> Answers:
    """The window on the profile itself, and who comes meanwhile."""
    del closed
    found = {"open": main.post("/profiles/master/login")}
    found["a session"] = main.post("/tiktok/session")
    found["another login"] = main.post("/profiles/master/login")
    main.end(found["open"].body["session_id"])
    return found


@pytest.fixture(scope="module")
def short(site: str, logged_in: Path, logged_out: Path) -> Iterator[Answers]:
    """Sessions that last a second; then the profile is logged out."""
    with house(site, logged_in, max_session_duration="1") as found:
        answers = {"by time": found.post("/tiktok/session?wait=closed")}
        found.stage.have(logged_out)
        answers["logged out"] = found.post("/tiktok/session")
        answers["logged out, later"] = found.get(
            f"/tiktok/session/{answers['logged out'].body['session_id']}"
        )
        yield answers


@pytest.fixture(scope="module")
def uncertain(site: str, logged_out: Path) -> Answers:
    """A page that tells nothing: the window is closed, or kept where the settings say so."""
    found = {}
    for choice in ("close", "keep"):
        with house(
            site, logged_out, tiktok_url=f"{site}/elsewhere", login_detection_timeout="1",
            login_detection_retries="0", on_uncertain=choice,
        ) as one:  # fmt: skip
            found[choice] = one.post("/tiktok/session")
            if choice == "keep":
                one.end(found[choice].body["session_id"])
    return found


@pytest.fixture(scope="module")
def impossible(site: str, logged_out: Path, tmp_path_factory: pytest.TempPathFactory) -> Answers:
    """No time, no browser, no screen."""
    found = {}
    with house(site, logged_out, creation_timeout="0.2", login_detection_timeout="0.1") as one:
        found["no time"] = one.post("/tiktok/session")
        found["no time, later"] = one.get(f"/tiktok/session/{found['no time'].body['session_id']}")
    nowhere = str(tmp_path_factory.mktemp("none") / "none")
    with house(site, logged_out, browser_path=nowhere) as one:
        found["no browser"] = one.post("/tiktok/session")
    with house(site, logged_out, headless="false") as one:
        found["no screen"] = one.post("/tiktok/session")
    return found


def is_success(answer: Answer, session: bool = True) -> bool:
    wanted = {"status", "message"} | ({"session_id"} if session else set())
    return (
        answer.body["status"] == "success"
        and wanted <= set(answer.body)
        and "error_details" not in answer.body
    )


@pytest.mark.parametrize("name", ["open", "browse"])
def test_an_open_session_is_200_with_its_place(two: Answers, name: str) -> None:
    answer = two[name]

    assert (answer.status, is_success(answer)) == (200, True)
    assert answer.headers["location"] == f"/tiktok/session/{answer.body['session_id']}"
    assert set(answer.body) == {"status", "message", "session_id"}


def test_the_window_stays_open_after_the_answer(two: Answers) -> None:
    shown = two["show"].body["session"]

    assert (two["show"].status, shown["state"], shown["login"]["state"]) == (200, "open", "logged_in")


def test_open_sessions_are_listed(two: Answers) -> None:
    listed = {one["session"]: one["kind"] for one in two["list"].body["sessions"]}

    assert two["list"].status == 200
    assert listed == {two["open"].body["session_id"]: "tiktok", two["browse"].body["session_id"]: "tiktok"}


def test_another_page_is_opened_without_the_login_gate(two: Answers) -> None:
    assert two["browse"].status == 200  # that page contradicts itself: with the gate it would be closed


def test_a_session_is_extended(two: Answers) -> None:
    assert (two["extend"].status, is_success(two["extend"])) == (200, True)
    assert two["extend"].body["ends_at"] > two["show"].body["session"]["ends_at"]


@pytest.mark.parametrize("name", ["close", "close again"])
def test_a_session_is_closed_and_closing_again_is_no_mistake(two: Answers, name: str) -> None:
    assert (two[name].status, is_success(two[name])) == (200, True)


@pytest.mark.parametrize(
    ("name", "status", "code"),
    [
        ("one too many", 503, "SESSION_LIMIT"), ("extend by nothing", 422, "BAD_FIELD"),
        ("of somebody else", 403, "FORBIDDEN"), ("any field", 422, "UNKNOWN_FIELD"),
        ("browse nowhere", 422, "BAD_FIELD"), ("browse as nobody", 404, "NO_SUCH_PROFILE"),
        ("unknown", 404, "NO_SUCH_SESSION"), ("no token", 401, "UNAUTHORIZED"),
        ("extend too late", 409, "SESSION_BUSY"),
    ],
)  # fmt: skip
def test_what_cannot_be_is_refused_in_the_familys_shape(
    two: Answers, name: str, status: int, code: str
) -> None:
    answer = two[name]

    assert (answer.status, answer.body["status"], answer.code) == (status, "error", code)
    assert answer.body["message"] == answer.body["error_details"]["details"]


def test_one_session_too_many_is_told_when_to_come_back(two: Answers) -> None:
    assert 0 < int(two["one too many"].headers["retry-after"]) <= 60


@pytest.mark.parametrize("name", ["open", "one too many", "any field", "unknown", "no token"])
def test_every_answer_is_json_that_the_page_may_read(two: Answers, name: str) -> None:
    headers = two[name].headers

    assert headers["content-type"] == "application/json"
    assert headers["access-control-allow-origin"] == PAGE
    assert "location" in headers["access-control-expose-headers"]


def test_who_waits_is_told_that_the_person_has_closed_the_window(closed: Answers) -> None:
    answer = closed["by the person"]

    assert (answer.status, is_success(answer)) == (200, True)
    assert "closed by the person" in answer.body["message"]
    assert answer.headers["location"] == f"/tiktok/session/{answer.body['session_id']}"


def test_who_waits_is_told_that_the_time_was_over(short: Answers) -> None:
    answer = short["by time"]

    assert (answer.status, is_success(answer)) == (200, True)
    assert "time was over" in answer.body["message"]


def test_who_waits_is_told_that_the_browser_died(closed: Answers) -> None:
    answer = closed["by a crash"]

    assert (answer.status, answer.body["status"], answer.code) == (500, "error", "BROWSER_FAILED")


def test_a_login_opens_the_profile_itself(login: Answers) -> None:
    assert (login["open"].status, is_success(login["open"])) == (200, True)


@pytest.mark.parametrize("name", ["a session", "another login"])
def test_a_profile_that_is_in_use_is_locked(login: Answers, name: str) -> None:
    answer = login[name]

    assert (answer.status, answer.body["status"], answer.code) == (423, "error", "USER_DATA_LOCKED")


def test_a_profile_that_is_logged_out_is_409_with_its_evidence(short: Answers) -> None:
    answer = short["logged out"]

    assert (answer.status, answer.body["status"]) == (409, "error")
    details = answer.body["error_details"]
    assert (details["code"], details["timeout"]) == ("NOT_LOGGED_IN", 8)
    shown = short["logged out, later"].body["session"]
    assert (details["method"], shown["reason"]) == (shown["login"]["method"], "logged_out")
    assert details["method"] in {"info", "page_state", "dom", "cookie"}
    assert "logged out" in details["details"]


def test_a_session_that_nobody_can_judge_is_409(uncertain: Answers) -> None:
    answer = uncertain["close"]

    assert (answer.status, answer.code) == (409, "LOGIN_UNCERTAIN")
    assert answer.body["error_details"]["timeout"] == 1


def test_a_session_that_nobody_can_judge_is_kept_where_the_settings_say_so(uncertain: Answers) -> None:
    assert (uncertain["keep"].status, is_success(uncertain["keep"])) == (200, True)


@pytest.mark.parametrize(
    ("name", "status", "code"),
    [
        ("no time", 504, "SESSION_TIMEOUT"), ("no time, later", 504, "SESSION_TIMEOUT"),
        ("no browser", 500, "NO_BROWSER"), ("no screen", 500, "NO_DISPLAY"),
    ],
)  # fmt: skip
def test_a_session_that_cannot_be_opened_says_why(
    impossible: Answers, name: str, status: int, code: str
) -> None:
    answer = impossible[name]

    assert (answer.status, answer.body["status"], answer.code) == (status, "error", code)


# -- tasks and posts -----------------------------------------------------------------------------------------

POSTS, TASKS = "/api/v1/posts", "/api/v1/tasks"
PRIVATE = {"privacy_level": "SELF_ONLY"}
TASK: dict[str, Any] = {
    "instance_id": "gen-1",
    "description": "A cat on a piano",
    "status": "completed",
    "planning_steps": [{"id": "1", "title": "Write", "description": "a script", "status": "done"}],
    "output_data": {"video_path": "clip.mp4", "caption": "Meow"},
}
DETAIL = {
    "planning_steps", "execution_logs", "can_post_to_tiktok", "suggested_caption", "tiktok_publish_id",
    "tiktok_post_status", "tiktok_post_url", "tiktok_post_data", "scheduled_post_time",
}  # fmt: skip
POST_STATUS = {
    "publish_id", "status", "state", "fail_reason", "post_url", "post_id", "uploaded_bytes", "downloaded_bytes",
}  # fmt: skip


@pytest.fixture(scope="module")
def linked(main: House, simulated: Simulator) -> House:
    """An account whose creator's options are known, and a clip."""
    daemon = main.stage.daemon
    daemon.link(simulated)
    make_clip(daemon.media / "clip.mp4")
    wait_until(lambda: "creator" in daemon.call("account/list")["result"]["accounts"][0], what="the creator")
    return main


@pytest.fixture(scope="module")
def task(linked: House) -> Answers:
    """A task from its first word to the end of its post."""
    found = {"submit": linked.post(TASKS, TASK | {"status": "running"})}
    place = found["submit"].headers["location"]
    line = {"agent_name": "writer", "action": "write", "status": "success", "message": "done"}
    found["not done"] = linked.post(f"{place}/post-to-tiktok", PRIVATE)
    found["update"] = linked.ask("PATCH", place, {"status": "completed", "logs": [line]})
    found["before"] = linked.get(f"{place}/detail")
    found["no post yet"] = linked.get(f"{place}/post-status")
    for name, body in {
        "privacy": {"privacy_level": "PUBLIC_TO_EVERYONE"},
        "title": PRIVATE | {"title": "\N{CAT FACE}" * 1101},
        "time": PRIVATE | {"schedule_time": "2030-01-01T09:00:00"},
        "field": PRIVATE | {"cat": 1},
    }.items():
        found[f"wrong {name}"] = linked.post(f"{place}/post-to-tiktok", body)
    found["schedule"] = linked.post(f"{place}/post-to-tiktok", PRIVATE | {"schedule_time": LATER})
    found["in flight"] = linked.post(f"{place}/post-to-tiktok", PRIVATE)
    found["scheduled"] = linked.get(f"{place}/detail")
    post = f"{POSTS}/{found['schedule'].body['post_id']}"
    found["publish now"] = linked.post(f"{post}/publish-now")
    wait_until(lambda: linked.get(f"{place}/post-status").body["state"] == "published", 30, what="published")
    found["status"] = linked.get(f"{place}/post-status")
    found["after"] = linked.get(f"{place}/detail")
    found["posted"] = linked.post(f"{place}/post-to-tiktok", PRIVATE)
    found["cancel too late"] = linked.ask("DELETE", post)
    for method, rest, body in (
        ("GET", "/detail", None), ("GET", "/post-status", None), ("PATCH", "", {"status": "failed"}),
        ("POST", "/post-to-tiktok", PRIVATE),
    ):  # fmt: skip
        found[f"of somebody else: {method} {rest}"] = linked.ask(method, f"{place}{rest}", body, user="bob")
        found[f"unknown: {method} {rest}"] = linked.ask(method, f"{TASKS}/t_none{rest}", body)
    return found


def test_a_task_is_written_down(task: Answers) -> None:
    assert task["submit"].status == 201
    assert task["submit"].headers["location"] == f"{TASKS}/{task['submit'].body['task_id']}"


def test_a_tasks_detail_has_all_that_the_contract_names(task: Answers) -> None:
    body = task["before"].body

    assert (task["before"].status, set(body) >= DETAIL) == (200, True)
    assert body["planning_steps"] == TASK["planning_steps"]
    assert set(body["execution_logs"][0]) == {
        "timestamp", "agent_name", "action", "status", "message", "details",
    }  # fmt: skip
    assert (body["can_post_to_tiktok"], body["suggested_caption"]) == (True, "Meow")
    assert (body["tiktok_post_status"], body["tiktok_publish_id"]) == (None, None)


def test_a_scheduled_post_of_a_task_has_no_publish_id(task: Answers) -> None:
    body = task["schedule"].body

    assert (task["schedule"].status, body | {"message": "", "post_id": ""}) == (
        200,
        {
            "success": True, "publish_id": None, "status": "SCHEDULED", "message": "", "post_id": "",
            "task_id": task["submit"].body["task_id"],
        },
    )  # fmt: skip
    assert task["scheduled"].body["tiktok_post_status"] == "SCHEDULED"
    at = datetime.fromisoformat(task["scheduled"].body["scheduled_post_time"])
    assert abs(at - datetime.fromisoformat(LATER)) < timedelta(seconds=1)


def test_a_tasks_post_is_followed_to_its_address(task: Answers) -> None:
    body = task["status"].body

    assert (task["status"].status, set(body)) == (200, POST_STATUS)
    assert (body["status"], body["state"], body["fail_reason"]) == ("PUBLISHED", "published", None)
    assert body["publish_id"]
    assert body["uploaded_bytes"] > 0


def test_a_tasks_detail_tells_what_became_of_its_post(task: Answers) -> None:
    body = task["after"].body

    assert (body["can_post_to_tiktok"], body["tiktok_post_status"]) == (False, "PUBLISHED")
    assert body["tiktok_publish_id"] == task["status"].body["publish_id"]
    assert body["tiktok_post_data"]["state"] == "published"
    assert body["tiktok_post_url"] == task["status"].body["post_url"]


@pytest.mark.parametrize(
    ("name", "status", "code"),
    [
        ("not done", 422, "bad_field"), ("no post yet", 404, "no_such_post"), ("wrong privacy", 422, "bad_field"),
        ("wrong title", 422, "bad_field"), ("wrong time", 422, "bad_time"), ("wrong field", 422, "unknown_field"),
        ("in flight", 409, "already_posted"), ("posted", 409, "already_posted"),
        ("cancel too late", 409, "already_final"),
    ],
)  # fmt: skip
def test_what_a_task_does_not_allow_is_refused(task: Answers, name: str, status: int, code: str) -> None:
    assert (task[name].status, task[name].code) == (status, code)


def test_a_task_of_somebody_else_is_as_if_it_were_not_there(task: Answers) -> None:
    found = [
        (answer.status, answer.code)
        for name, answer in task.items()
        if name.startswith(("of some", "unknown"))
    ]

    assert found == [(404, "no_such_task")] * 8


@pytest.fixture(scope="module")
def post(linked: House) -> Answers:
    """A post that is never published, and all that can be asked of it."""
    order = {"account": "demo", "media": "clip.mp4", "privacy": "SELF_ONLY", "at": LATER}
    found = {"schedule": linked.post(POSTS, order, Idempotency_Key="one")}
    found["again"] = linked.post(POSTS, order, Idempotency_Key="one")
    found["another under its key"] = linked.post(POSTS, order | {"title": "x"}, Idempotency_Key="one")
    place = found["schedule"].headers["location"]
    found["draft"] = linked.post(
        POSTS, {name: order[name] for name in order if name != "at"} | {"draft": True}
    )
    found["show"] = linked.get(place)
    found["list"] = linked.get(f"{POSTS}?state=scheduled&account=demo&limit=1")
    found["page"] = linked.get(f"{POSTS}?limit=1")
    found["next page"] = linked.get(f"{POSTS}?limit=1&cursor={found['page'].body['cursor']}")
    found["move"] = linked.ask("PATCH", place, {"at": "2030-01-01T09:00:00+01:00"})
    found["wrong outcome"] = linked.post(f"{place}/resolve", {"outcome": "odd"})
    found["not uncertain"] = linked.post(f"{place}/resolve", {"outcome": "published"})
    found["wrong time"] = linked.ask("PATCH", place, {"at": "2030-01-01T09:00:00"})
    found["wrong query"] = linked.get(f"{POSTS}?page=2")
    found["wrong field"] = linked.post(POSTS, order | {"cat": 1})
    found["wrong host"] = linked.post(
        POSTS, {k: v for k, v in order.items() if k != "media"} | {"url": "https://a.example/x.mp4"}
    )
    for method, rest, body in (("GET", "", None), ("PATCH", "", {"at": LATER}), ("DELETE", "", None)):
        found[f"of somebody else: {method}"] = linked.ask(method, place + rest, body, user="bob")
    found["cancel"] = linked.ask("DELETE", place)
    found["publish what is cancelled"] = linked.post(f"{place}/publish-now")
    found["unknown"] = linked.get(f"{POSTS}/p_none")
    found["accounts"] = linked.get("/api/v1/accounts")
    linked.ask("DELETE", found["draft"].headers["location"])
    return found


def test_a_post_is_scheduled_once_under_its_key(post: Answers) -> None:
    assert [post[name].status for name in ("schedule", "again")] == [201, 201]
    assert post["again"].body == post["schedule"].body
    assert post["again"].headers["idempotent-replayed"] == "true"


def test_a_post_is_shown_and_listed(post: Answers) -> None:
    name = post["schedule"].body["post"]

    assert (post["show"].status, post["show"].body["post"]) == (200, name)
    assert [one["post"] for one in post["list"].body["posts"]] == [name]


def test_a_list_of_posts_is_continued_by_its_cursor(post: Answers) -> None:
    pages = [[one["post"] for one in post[name].body["posts"]] for name in ("page", "next page")]

    assert [len(page) for page in pages] == [1, 1]
    assert pages[0] != pages[1]


def test_a_post_is_moved_and_cancelled(post: Answers) -> None:
    assert (post["move"].status, post["move"].body["at"]) == (200, "2030-01-01T08:00:00.000Z")
    assert (post["cancel"].status, post["cancel"].body["state"]) == (200, "cancelled")


@pytest.mark.parametrize(
    ("name", "status", "code"),
    [
        ("another under its key", 409, "id_conflict"), ("wrong outcome", 422, "bad_field"),
        ("not uncertain", 422, "bad_field"), ("wrong time", 422, "bad_time"), ("wrong query", 422, "unknown_field"),
        ("wrong field", 422, "unknown_field"), ("wrong host", 422, "media_rejected"),
        ("of somebody else: GET", 403, "forbidden"), ("of somebody else: PATCH", 403, "forbidden"),
        ("of somebody else: DELETE", 403, "forbidden"), ("publish what is cancelled", 409, "already_final"),
        ("unknown", 404, "no_such_post"),
    ],
)  # fmt: skip
def test_what_a_post_does_not_allow_is_refused(post: Answers, name: str, status: int, code: str) -> None:
    assert (post[name].status, post[name].code) == (status, code)


def test_accounts_are_listed_without_their_tokens(post: Answers) -> None:
    (account,) = post["accounts"].body["accounts"]

    assert (post["accounts"].status, account["account"]) == (200, "demo")
    assert not [name for name in account if re.search("access_token|refresh_token", name)]
