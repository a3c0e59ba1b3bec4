"""Rows of a week: time, endurance, security."""

from tests.scorecard import (
    clock,
    hostile_page,
    limits,
    neighbour,
    network,
    relay,
    soak,
    store,
    supply,
    troubles,
    windows,
)
from tests.scorecard.row import Row

_TIME = "tests/integration/test_virtual_time.py::"
_MEDIA = "tests/integration/test_media_library.py::"
_FETCHING = "tests/integration/test_media_fetching.py::"
_SECRETS = "tests/e2e/test_secrets.py::"
_LEAK_CONTROL = "tests/e2e/test_session_soak.py::test_a_daemon_without_this_guard_is_caught_by_the_same_count"
_LINKS = "tests/unit/test_handlers_links.py::"
_LINKING = "tests/e2e/test_linking.py::"


def _sessions(count: int, seed: int) -> dict[str, str]:
    return {"TOKD_SESSIONS": str(count), "TOKD_SEED": str(seed)}


def _requests(count: int, seed: int) -> dict[str, str]:
    return {"TOKD_FUZZ": str(count), "TOKD_FUZZ_SEED": str(seed)}


def _inputs(count: int, seed: int) -> dict[str, str]:
    return {"TOKD_FUZZ_CASES": str(count), "TOKD_FUZZ_SEED": str(seed)}


C = (
    Row(
        "C1", "a virtual year in 12 zones, both nights of the clock change", "one post for each local date", "C",
        tests=tuple(
            _TIME + name for name in (
                "test_every_post_of_the_year_is_published_once",
                "test_every_local_date_of_every_zone_has_exactly_one_post",
                "test_no_post_begins_before_its_time_or_later_than_a_second_after_it",
                "test_a_post_stands_at_half_past_two_except_where_the_clock_has_no_such_time",
            )
        ),
    ),
    Row(
        "C2", "the wall clock jumps while posts wait", "none twice, none early", "N", tests=(
            f"{_TIME}test_a_wall_clock_that_jumps_forward_posts_once_or_holds",
            f"{_TIME}test_a_wall_clock_that_jumps_back_fires_nothing_early_and_nothing_twice",
        ), full=12, run=clock.jumps, note="the tests: the core's own clock; the jumps: that of a whole process",
    ),
    Row(
        "C3", "down over due times", "the policy obeyed, 0 dropped in silence", "C", tests=(
            f"{_TIME}test_a_daemon_that_was_down_over_the_due_time_obeys_the_policy",
            f"{_TIME}test_nothing_is_dropped_silently_while_the_daemon_is_down",
        ), run=relay.late_in_a_plain_scheduler,
    ),
    Row(
        "C4", "500 posts due while both processors are loaded", "p99 at most 2 s late, 0 early", "N",
        full=500, run=store.punctual, alone=True,
    ),
)  # fmt: skip

D = (
    Row(
        "D1", "browser sessions, one in ten killed", "descriptors, processes, clones as before", "N", full=200,
        tests=("tests/e2e/test_session_soak.py", f"--deselect={_LEAK_CONTROL}"), environ=_sessions,
        control=(_LEAK_CONTROL,),
    ),
    Row(
        "D2", "kill -9 of the daemon with 3 live browsers", "30 kills, no browser 5 s after the next start", "N",
        full=30, run=windows.kill_the_daemon, note="started again by hand, without systemd",
    ),
    Row(
        "D3", "browsers that starve, are killed, are stopped, pages that never end",
        "100 faults, a reason within the step's time and 5 s, the daemon lives", "N", full=100,
        run=troubles.troubled_browsers,
        note="a page that has crashed in an open window is no end: that session is then closed by a command",
    ),
    Row(
        "D4", "few descriptors, few processes, little memory", "a named error, 0 lost, goes on in 30 s when lifted", "N",
        full=24, run=limits.tight_limits,
    ),
    Row(
        "D5", "20,000 posts on end", "1 MiB more for 1,000 posts, descriptors flat, log in bounds", "N",
        full=20_000, run=soak.soak, alone=True,
    ),
    Row(
        "D6", "a slow, half-open, resetting, silent network", "0 stuck threads, goes on in 60 s, 0 lost", "N",
        full=18, run=network.broken,
    ),
    Row(
        "D7", "broker restarts, wrong password, expired certificate", "back soon, one line a minute", "C",
        tests=("tests/integration/test_mqtt_restarts.py",),
    ),
)  # fmt: skip

S = (
    Row(
        "S1", "the broker's rules, 6 actors by 30 topics", "all as designed", "C",
        tests=("tests/integration/test_broker_acl.py",),
    ),
    Row(
        "S2", "forged, retained, expired, replayed commands", "0 carried out of 500", "C",
        tests=("tests/e2e/test_forged_commands.py",),
    ),
    Row(
        "S3", "bytes and JSON of every kind", "one answer each, 0 dead threads", "N",
        full=100_000, tests=("tests/unit/test_wire_fuzz.py",), environ=_inputs,
    ),
    Row(
        "S4", "generated and hostile HTTP", "0 answers of 5xx, 0 hangs", "N", full=30_000, short=3000,
        tests=("tests/e2e/test_http_fuzz.py", "tests/e2e/test_http_hostile.py"), environ=_requests,
    ),
    Row(
        "S5", "wrong names, origins and tokens, strange pages in a real browser", "0 of 200 pass", "C",
        tests=("tests/integration/test_http_strangers.py", "tests/integration/test_http_pages.py"),
    ),
    Row(
        "S6", "another user of the machine", "0 files readable, 0 ports drivable, 0 secrets in command lines", "C",
        run=neighbour.other_user, tests=("tests/e2e/test_another_user.py",),
    ),
    Row(
        "S7", "canary secrets through a whole run", "0 found in any sink", "C", tests=(
            "tests/e2e/test_secrets.py", f"--deselect={_SECRETS}test_search_finds_a_canary_planted_in_a_post",
        ), control=(f"{_SECRETS}test_search_finds_a_canary_planted_in_a_post",),
    ),
    Row(
        "S8", "a hostile page in the session's browser", "0 requests taken, 0 files outside of the clone, closes in time",
        "N", full=400, run=hostile_page.hostile_page, tests=("tests/integration/test_browser_downloads.py",),
        note="downloads are refused until a window is handed over, and without a window for good; in an open window they "
        "are the person's, and go where their browser puts them",
    ),
    Row(
        "S9", "the browser's switches", "an exact list; none that undoes safety", "C",
        tests=("tests/unit/test_config_browser_args.py", "tests/integration/test_browser_switches.py"),
        note="as root with --no-sandbox, which Chromium demands of root; that others keep the sandbox is a test of its own",
    ),
    Row(
        "S10", "paths that lead elsewhere, files swapped", "0 wrong files opened", "C", tests=tuple(
            _MEDIA + name for name in (
                "test_a_name_that_leaves_the_roots_is_refused", "test_a_pipe_is_refused_without_waiting_for_a_writer",
                "test_a_hard_link_is_refused_with_the_way_out", "test_a_device_is_refused",
                "test_a_file_that_changed_after_scheduling_is_not_opened",
                "test_a_scheduled_file_that_became_a_link_out_is_not_opened",
                "test_a_file_that_was_swapped_for_an_equal_one_is_not_recalled",
                "test_a_name_that_is_swapped_a_thousand_times_never_opens_a_file_outside",
                "test_a_swapped_file_is_never_sent",
            )
        ),
    ),
    Row(
        "S11", "addresses in disguise, redirects, names that change their address", "0 hosts called that are not allowed",
        "C", tests=(
            "tests/unit/test_media_addresses.py", "tests/unit/test_media_hosts.py", *(
                _FETCHING + name for name in (
                    "test_nobody_is_called_for_a_hostile_address",
                    "test_an_allowed_name_that_leads_into_a_private_network_is_not_called",
                    "test_a_name_that_changes_its_address_between_two_questions_gains_nothing",
                    "test_a_name_that_changes_its_address_before_a_new_try_is_not_called_again",
                    "test_a_redirect_to_a_hostile_address_is_not_followed",
                    "test_a_redirect_into_a_private_network_is_not_followed",
                    "test_a_host_whose_certificate_nobody_vouches_for_is_refused",
                    "test_a_host_with_another_hosts_certificate_is_refused",
                )
            ),
        ), note="each case is a test; the host answers on loopback, its resolver is the test's",
    ),
    Row(
        "S12", "the state folder at rest", "no secret in clear, closed to others", "C", tests=(
            f"{_SECRETS}test_no_file_of_the_state_folder_has_a_secret",
            f"{_SECRETS}test_state_folder_is_closed_to_others",
        ),
    ),
    Row(
        "S13", "the supply chain, and a start in a network without a route",
        "hashes only, every package listed, 0 calls to other hosts", "C", run=supply.contents_and_silence, tests=(
            "tests/integration/test_install_hashes.py",
            "tests/unit/test_supply_audit.py",
            "tests/unit/test_house.py::test_every_requirement_is_pinned_by_a_hash",
            "tests/unit/test_house.py::test_no_committed_file_names_a_package_index",
            "tests/unit/test_house.py::test_every_module_can_be_imported_and_does_nothing_by_that",
        ),
    ),
    Row(
        "S14", "TLS that is not what it should be", "0 bytes of secrets sent", "C",
        tests=("tests/integration/test_tiktok_tls.py",),
    ),
    Row(
        "S15", "forged and repeated webhooks", "1,000, 0 changes", "C",
        tests=("tests/e2e/test_webhooks.py::test_a_thousand_forged_and_repeated_webhooks_change_nothing",),
    ),
    Row(
        "S16", "a login that is not what it should be", "0 tokens stored", "C", tests=(
            *(_LINKS + name for name in (
                "test_an_unknown_state_stores_nothing", "test_a_state_works_once", "test_a_state_expires",
                "test_a_state_is_spent_before_its_code_is_sent", "test_a_new_link_takes_the_place_of_the_one_before",
                "test_the_state_of_one_account_does_not_serve_another", "test_another_client_key_ends_the_link",
                "test_an_answer_without_a_code_ends_the_link", "test_another_persons_tokens_are_given_back",
                "test_a_person_is_linked_under_one_name_and_keeps_those_tokens",
                "test_tokens_of_nobody_are_given_back", "test_a_code_does_not_come_over_a_broker",
            )),
            *(_LINKING + name for name in (
                "test_the_code_of_one_person_with_the_state_of_another_links_nobody",
                "test_an_answer_that_is_replayed_links_nobody_twice_and_leaves_no_trace",
                "test_a_code_that_was_used_is_worth_nothing_with_a_new_state",
            )),
        ),
    ),
)  # fmt: skip

ROWS = (*C, *D, *S)
