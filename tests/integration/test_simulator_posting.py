"""The simulator's inits, quotas, soft failures, status machine, cancel and video list."""

import pytest

from tests.integration.test_simulator import INITS, PUBLISH, Driver, started, wait_until


@pytest.fixture(scope="module")
def running(tmp_path_factory):
    with started(tmp_path_factory.mktemp("simulator")) as driver:
        yield driver


@pytest.fixture
def simulator(running):
    running.console("reset")
    running.settings(processing_seconds=0)
    return running


PULL = {"source": "PULL_FROM_URL", "video_url": "https://media.example.com/a.mp4"}
PHOTO = {
    "media_type": "PHOTO",
    "post_mode": "DIRECT_POST",
    "post_info": {"privacy_level": "SELF_ONLY", "title": "p"},
    "source_info": {
        "source": "PULL_FROM_URL",
        "photo_images": ["https://media.example.com/1.jpg"],
        "photo_cover_index": 0,
    },
}


def code_of(answer) -> tuple[int, str]:
    return answer.status_code, answer.json()["error"]["code"]


def creator(simulator: Driver, token: str):
    return simulator.post(f"{PUBLISH}/creator_info/query/", None, token)


def open_up(simulator: Driver) -> None:
    simulator.settings(audited=True)
    simulator.console("users", {"name": "demo", "private": False})


def public(**more):
    return {"post_info": {"privacy_level": "PUBLIC_TO_EVERYONE", "title": "hello #tag", **more}}


def test_creator_info_describes_the_account(simulator):
    data = creator(simulator, simulator.token()).json()["data"]
    assert data["creator_username"] == "demo_creator"
    assert data["creator_nickname"] == "Demo Creator"
    assert data["privacy_level_options"] == ["FOLLOWER_OF_CREATOR", "MUTUAL_FOLLOW_FRIENDS", "SELF_ONLY"]
    assert data["duet_disabled"]
    simulator.console("users", {"name": "demo", "private": False, "max_video_post_duration_sec": 60})
    data = creator(simulator, simulator.token()).json()["data"]
    assert data["privacy_level_options"][0] == "PUBLIC_TO_EVERYONE"
    assert (data["duet_disabled"], data["max_video_post_duration_sec"]) == (False, 60)


def test_soft_failures_are_200_for_creator_info_and_403_for_init(simulator):
    token = simulator.token()
    simulator.settings(daily_posts=0)
    assert code_of(creator(simulator, token)) == (200, "spam_risk_too_many_posts")
    assert code_of(simulator.init(token)) == (403, "spam_risk_too_many_posts")
    simulator.console("users", {"name": "demo", "banned": True})
    assert code_of(creator(simulator, token)) == (200, "spam_risk_user_banned_from_posting")
    assert code_of(simulator.init(token, mode="inbox")) == (403, "spam_risk_user_banned_from_posting")


def test_checks_come_in_order(simulator):
    assert code_of(simulator.init("act.none", source_info=None)) == (401, "access_token_invalid")
    token = simulator.token(scopes=["video.upload"])
    assert code_of(simulator.init(token, source_info=None)) == (401, "scope_not_authorized")
    token = simulator.token()
    simulator.console("users", {"name": "demo", "private": False, "banned": True})
    assert code_of(simulator.init(token, source_info=None)) == (400, "invalid_params")
    assert code_of(simulator.init(token, post_info={})) == (403, "spam_risk_user_banned_from_posting")
    simulator.console("users", {"name": "demo", "banned": False})
    refused = (403, "unaudited_client_can_only_post_to_private_accounts")
    assert code_of(simulator.init(token, post_info={})) == refused
    simulator.settings(audited=True, verified_urls=["https://other.example.com/"])
    assert code_of(simulator.init(token, post_info={})) == (403, "privacy_level_option_mismatch")


def test_pulls_need_a_verified_https_property(simulator):
    simulator.settings(verified_urls=["https://media.example.com/", "https://127.0.0.1/"])
    token = simulator.token()
    for url in ("http://media.example.com/a", "https://127.0.0.1/a", "https://else.example.com/a"):
        refusal = simulator.init(token, source_info=PULL | {"video_url": url}, mode="inbox")
        assert code_of(refusal) == (403, "url_ownership_unverified")


@pytest.mark.parametrize(
    "change",
    [
        pytest.param({"post_info": {"title": "\U0001f600" * 1101}}, id="2202 UTF-16 code units"),
        pytest.param({"post_info": {"disable_duet": "yes"}}, id="a text for a bool"),
        pytest.param({"source_info": {"source": "FILE_UPLOAD"}}, id="no sizes"),
        pytest.param({"source_info": {"source": "PULL_FROM_URL"}}, id="no URL"),
        pytest.param({"source_info": {"source": "ELSEWHERE"}}, id="unknown source"),
    ],
)
def test_bad_bodies_are_invalid_params(simulator, change):
    assert code_of(simulator.init(simulator.token(), **change)) == (400, "invalid_params")


def test_rates_are_limited_by_token_and_endpoint(simulator):
    token = simulator.token()
    codes = [simulator.init(token, source_info=None).status_code for _ in range(7)]
    assert codes == [400] * 6 + [429]
    assert simulator.init(token, mode="inbox").status_code == 200
    assert simulator.init(simulator.token()).status_code == 200
    simulator.console("clock", {"advance_seconds": 60})
    assert simulator.init(token).status_code == 200
    simulator.settings(rate_limits=False)
    assert {creator(simulator, token).status_code for _ in range(25)} == {200}


def test_creators_have_a_daily_number_of_posts(simulator):
    simulator.settings(rate_limits=False)
    token = simulator.token()
    codes = [simulator.init(token).status_code for _ in range(16)]
    assert codes == [200] * 15 + [403]
    simulator.console("clock", {"advance_seconds": 86_401})
    assert simulator.init(simulator.token()).status_code == 200


def test_drafts_wait_in_a_queue_of_five(simulator):
    simulator.settings(rate_limits=False)
    token = simulator.token()
    posts = [simulator.upload(token, "inbox") for _ in range(5)]
    assert code_of(simulator.init(token, mode="inbox")) == (403, "spam_risk_too_many_pending_share")
    simulator.console(f"posts/{posts[0]}", {"status": "PUBLISH_COMPLETE"})
    assert simulator.init(token, mode="inbox").status_code == 200


def test_unaudited_clients_have_five_posting_users(simulator):
    for number in range(5):
        simulator.console("users", {"name": f"user{number}", "private": True})
        assert simulator.init(simulator.token(f"user{number}")).status_code == 200
    token = simulator.token()
    assert code_of(simulator.init(token)) == (403, "reached_active_user_cap")
    assert code_of(creator(simulator, token)) == (200, "reached_active_user_cap")
    simulator.settings(audited=True)
    assert simulator.init(token).status_code == 200


def test_direct_upload_goes_from_processing_to_complete(simulator):
    simulator.settings(processing_seconds=3600)
    token = simulator.token()
    data = simulator.init(token).json()["data"]
    assert data["publish_id"].startswith("v_pub_file~v2-1.")
    assert len(data["upload_url"]) <= 256
    publish_id = data["publish_id"]
    assert simulator.status(token, publish_id) == {"status": "PROCESSING_UPLOAD", "uploaded_bytes": 0}
    simulator.put(data["upload_url"], 0, b"v" * 1000, 1000)
    assert simulator.status(token, publish_id) == {"status": "PROCESSING_UPLOAD", "uploaded_bytes": 1000}

    simulator.console("clock", {"advance_seconds": 3600})

    status = simulator.status(token, publish_id)
    assert (status["status"], status["publicaly_available_post_id"]) == ("PUBLISH_COMPLETE", [])


def test_public_post_gets_a_19_digit_id_after_moderation(simulator):
    open_up(simulator)
    simulator.settings(moderation_seconds=100)
    token = simulator.token()
    publish_id = simulator.upload(token, **public())
    assert simulator.wait_for(token, publish_id, "PUBLISH_COMPLETE")["publicaly_available_post_id"] == []

    simulator.console("clock", {"advance_seconds": 100})

    (post_id,) = simulator.status(token, publish_id)["publicaly_available_post_id"]
    assert isinstance(post_id, int)
    assert len(str(post_id)) == 19
    videos = simulator.post("/v2/video/list/?fields=id,title,share_url", {"max_count": 5}, token).json()
    assert videos["data"]["videos"] == [
        {
            "id": str(post_id),
            "title": "hello #tag",
            "share_url": f"https://www.tiktok.com/@demo_creator/video/{post_id}",
        }
    ]


def test_moderation_may_never_end(simulator):
    open_up(simulator)
    simulator.settings(moderation="never")
    token = simulator.token()
    publish_id = simulator.upload(token, **public())
    simulator.wait_for(token, publish_id, "PUBLISH_COMPLETE")
    simulator.console("clock", {"advance_seconds": 86_000})
    assert simulator.status(token, publish_id)["publicaly_available_post_id"] == []


def test_draft_is_sent_to_the_inbox_and_completed_when_the_user_posts_it(simulator):
    token = simulator.token()
    publish_id = simulator.upload(token, "inbox")
    simulator.wait_for(token, publish_id, "SEND_TO_USER_INBOX")
    simulator.settings(complete_inbox_seconds=0)
    simulator.wait_for(token, publish_id, "PUBLISH_COMPLETE")
    assert [row["publish_id"] for row in simulator.ledger()["publishes"]] == [publish_id]


def test_pull_is_published_after_processing_and_can_be_cancelled_before(simulator):
    simulator.settings(processing_seconds=3600)
    token = simulator.token()
    posts = [simulator.init(token, source_info=PULL).json()["data"] for _ in range(2)]
    kept, dropped = (post["publish_id"] for post in posts)
    assert simulator.status(token, kept) == {"status": "PROCESSING_DOWNLOAD", "downloaded_bytes": 0}

    answer = simulator.post(f"{PUBLISH}/cancel/", {"publish_id": dropped}, token)

    assert answer.status_code == 200
    assert "data" not in answer.json()
    assert simulator.status(token, dropped)["fail_reason"] == "publish_cancelled"
    assert simulator.ledger()["publishes"] == []
    simulator.console("clock", {"advance_seconds": 3600})
    assert [row["publish_id"] for row in simulator.ledger()["publishes"]] == [kept]
    again = simulator.post(f"{PUBLISH}/cancel/", {"publish_id": kept}, token)
    assert code_of(again) == (400, "publish_not_cancellable")


def test_photos_are_pulled_for_both_modes(simulator):
    token = simulator.token()
    direct = simulator.post(INITS["photo"], PHOTO, token).json()["data"]
    draft = simulator.post(INITS["photo"], PHOTO | {"post_mode": "MEDIA_UPLOAD"}, token).json()["data"]
    assert set(direct) == {"publish_id"}
    simulator.wait_for(token, direct["publish_id"], "PUBLISH_COMPLETE")
    simulator.wait_for(token, draft["publish_id"], "SEND_TO_USER_INBOX")
    assert [row["mode"] for row in simulator.ledger()["inits"]] == ["photo", "photo"]


def test_other_peoples_posts_are_refused(simulator):
    simulator.console("users", {"name": "other"})
    publish_id = simulator.upload(simulator.token())
    path = f"{PUBLISH}/status/fetch/"
    refusal = simulator.post(path, {"publish_id": publish_id}, simulator.token("other"))
    assert code_of(refusal) == (400, "token_not_authorized_for_specified_publish_id")
    unknown = simulator.post(path, {"publish_id": "x"}, simulator.token())
    assert code_of(unknown) == (400, "invalid_publish_id")


def test_forced_failure_takes_a_publish_back(simulator):
    token = simulator.token()
    publish_id = simulator.upload(token)
    wait_until(lambda: simulator.ledger()["publishes"])
    simulator.console(f"posts/{publish_id}", {"status": "FAILED", "fail_reason": "spam_risk"})
    assert simulator.status(token, publish_id)["fail_reason"] == "spam_risk"
    assert simulator.ledger()["publishes"] == []


def test_ledger_counts_calls_and_keeps_what_was_sent(simulator):
    token = simulator.token()
    publish_id = simulator.upload(token)
    creator(simulator, token)
    ledger = simulator.ledger()
    (init,) = ledger["inits"]
    assert init["post_info"] == {"privacy_level": "SELF_ONLY", "title": "a title"}
    assert (init["account"], init["publish_id"], init["mode"]) == ("demo", publish_id, "direct")
    assert ledger["calls"] == {"video_init": 1, "upload": 1, "creator_info": 1}
