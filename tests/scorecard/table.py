"""Every row of the scorecard, in one table."""

from tests.scorecard import (
    backup,
    clock,
    crash,
    damage,
    disk,
    flood,
    hostile_page,
    keys,
    lease,
    limits,
    neighbour,
    network,
    relay,
    soak,
    store,
    supply,
    syscalls,
    troubles,
    units,
    units_ends,
    units_reloads,
    windows,
)
from tests.scorecard.row import Row

_FAILPOINTS = "tests/crash/test_failpoints.py::"
_CONTROLS = "tests/crash/test_negative_controls.py::"
_TIME = "tests/integration/test_virtual_time.py::"
_MIGRATIONS = "tests/contract/test_migrations.py::"
_MEDIA = "tests/integration/test_media_library.py::"
_FETCHING = "tests/integration/test_media_fetching.py::"
_FAULTY = "tests/e2e/test_faulty_network.py"
_CLIENT = "tests/integration/test_tiktok_client.py::"
_SECRETS = "tests/e2e/test_secrets.py::"
_LEAK_CONTROL = "tests/e2e/test_session_soak.py::test_a_daemon_without_this_guard_is_caught_by_the_same_count"
_LINKS = "tests/unit/test_handlers_links.py::"
_LINKING = "tests/e2e/test_linking.py::"


def _commands(count: int, seed: int) -> dict[str, str]:
    """B1: of eleven faults ten are kills of the daemon and one is a kill of the broker."""
    brokers = max(count // 11, 1)
    kills = max(count - brokers, 1)
    return {
        "TOKD_COMMAND_KILLS": str(kills), "TOKD_BROKER_KILLS": str(min(brokers, kills)), "TOKD_BROKER_KEEPS": "1",
        "TOKD_COMMANDS": str(max(50 * kills, 400)), "TOKD_SEED": str(seed),
    }  # fmt: skip


def _forgetful_broker(count: int, seed: int) -> dict[str, str]:
    """B2: the broker is killed and forgets all, each time before the daemon is."""
    kills = str(max(count, 1))
    return {
        "TOKD_COMMAND_KILLS": kills, "TOKD_BROKER_KILLS": kills, "TOKD_SEED": str(seed),
        "TOKD_COMMANDS": str(max(40 * count, 400)),
    }  # fmt: skip


def _repeats(count: int, seed: int) -> dict[str, str]:
    """B3: 200 commands between two kills; many more at once, and some would be answered `busy`."""
    return {"TOKD_COMMAND_KILLS": str(count // 200), "TOKD_COMMANDS": str(count), "TOKD_SEED": str(seed)}


def _sessions(count: int, seed: int) -> dict[str, str]:
    return {"TOKD_SESSIONS": str(count), "TOKD_SEED": str(seed)}


def _model(count: int, seed: int) -> dict[str, str]:
    return {"TOKD_MODEL_RUNS": str(count), "TOKD_MODEL_STEPS": "50", "TOKD_SEED": str(seed)}


def _requests(count: int, seed: int) -> dict[str, str]:
    return {"TOKD_FUZZ": str(count), "TOKD_FUZZ_SEED": str(seed)}


def _inputs(count: int, seed: int) -> dict[str, str]:
    return {"TOKD_FUZZ_CASES": str(count), "TOKD_FUZZ_SEED": str(seed)}


def _missing(name: str, sentence: str, figure: str, tier: str, why: str) -> Row:
    return Row(name, sentence, figure, tier, missing=why)


A = (
    Row(
        "A1", "kill -9 at random moments while posts run", "1,000 kills, 0 lost, 0 doubled", "N",
        full=1050, short=1050, run=crash.random_kills, control=(
            f"{_CONTROLS}test_a_daemon_without_the_intent_commit_is_caught",
            f"{_CONTROLS}test_random_kills_catch_a_daemon_without_the_intent_commit",
        ),
    ),
    Row(
        "A2", "the end at every named place of the pipeline", "every place met, 0 lost, 0 doubled", "C",
        tests=tuple(
            _FAILPOINTS + name for name in (
                "test_a_file_is_published_once_after_a_crash_at",
                "test_a_file_is_published_once_after_a_second_crash_on_the_way_back",
                "test_a_status_read_that_a_crash_cut_off_is_made_anew_at_once",
                "test_a_pulled_post_is_never_begun_twice_after_a_crash_at",
                "test_photos_are_never_begun_twice_after_a_crash_at",
            )
        ), full=52,
        note="each place once for a file and, where it matters, for an address; those of the tokens are in B7",
    ),
    Row(
        "A3", "SIGKILL at the N-th system call of one post's life", "every N, 0 bad", "N",
        full=300, run=syscalls.kill_at_each_call,
        note="fdatasync, pwrite64 and sendto, drawn at random out of all there are; `rename` is not in a post's life",
    ),
    Row(
        "A4", "power cuts while posts run", "300 cuts, no promise broken; without the sync it must break", "N",
        full=300, run=crash.power_cuts,
    ),
    Row(
        "A5", "EIO at the N-th sync, write or read, once and from then on", "200 points, no promise without a row",
        "N", full=200, run=syscalls.fail_each_call,
    ),
    Row(
        "A6", "the disk full at every stage, then room again", "0 lost, refused in 2 s, goes on in 30 s, reads served",
        "C", full=40, run=disk.full_disk,
    ),
    Row(
        "A7", "a damaged ledger", "safe mode or right, 0 posts made from a damaged ledger", "N",
        full=100, run=damage.damaged_ledger,
    ),
    Row(
        "A8", "backup under load, restore, go on", "50 restores, what was promised is in it, 0 reposts", "N",
        full=50, run=backup.backup_under_load,
        note="a third each: into the same folder, into a fresh one, over a damaged ledger; kills are over and above",
    ),
    Row(
        "A9", "a migration killed at its system calls, from each released schema", "old or new schema, 0 rows lost",
        "N", full=200, run=syscalls.kill_the_migration,
    ),
    Row(
        "A10", "an older program on a newer database", "refused, not one byte changed", "C",
        tests=tuple(
            _MIGRATIONS + name for name in (
                "test_a_newer_database_is_refused_and_keeps_its_tables",
                "test_a_newer_file_keeps_every_byte_after_a_kill",
                "test_a_newer_file_keeps_every_byte",
            )
        ),
    ),
    Row(
        "A11", "8 writers, 4 readers, checkpoints", "8,000 changes, 0 lost, 0 errors", "C",
        full=8000, run=store.many_writers, alone=True,
    ),
    Row(
        "A12", "rotation of the tokens' key under kills", "every row opens at every moment", "N",
        full=100, run=keys.rotate_under_kills,
        note="the command is killed, with tokd running and not, and tokd is killed beside it",
    ),
)  # fmt: skip

B = (
    Row(
        "B1", "commands from 8 callers while daemon and broker are killed", "220 kills, 0 lost, 0 run twice", "N",
        full=220, tests=("tests/crash/test_durable_commands.py",), environ=_commands, lanes=2, control=(
            f"{_CONTROLS}test_a_daemon_that_acknowledges_before_it_has_stored_is_caught[acknowledged early]",
            f"{_CONTROLS}test_a_daemon_that_acknowledges_before_it_has_stored_is_caught[as it is]",
        ),
    ),
    Row(
        "B2", "a broker that forgets, killed again and again", "50 kills, nothing that was promised is lost", "N",
        full=100, tests=("tests/crash/test_durable_commands.py",), environ=_forgetful_broker,
        note="each kill of the broker is followed by one of the daemon",
    ),
    Row(
        "B3", "commands sent up to 3 times, out of order, by 8 actors; other bodies under used ids",
        "one effect each, every conflict told", "C", full=2000, tests=(
            "tests/crash/test_durable_commands.py",
            "tests/e2e/test_publishing.py::test_other_order_under_the_same_id_is_a_conflict",
        ), environ=_repeats,
    ),
    Row(
        "B4", "the end between an event's leaving and its mark", "no event missing, repeats under one id", "C",
        full=18, run=relay.kill_the_relay,
    ),
    Row(
        "B5", "answers of an init cut at each place, lost, late, garbled", "0 blind repeats, the rest UNCERTAIN", "N",
        full=60, tests=(
            _FAULTY, f"{_CLIENT}test_an_answer_cut_at_any_byte_leaves_the_outcome_of_an_init_unknown",
        ), note="one run with B6's broken uploads: their faults are counted here",
    ),
    Row(
        "B6", "uploads cut, refused, lost", "the bytes at the end are the file's, 1 init", "N", tests=(
            f"{_CLIENT}test_each_refusal_of_a_chunk_has_its_class",
            f"{_CLIENT}test_a_connection_lost_in_a_chunk_is_in_doubt_only_for_the_last_one",
            f"{_CLIENT}test_an_early_answer_is_read_though_the_body_was_not_fully_sent",
            f"{_CLIENT}test_a_success_before_the_body_was_out_is_not_believed",
        ), note="whole posts with broken uploads run, and are counted, in B5",
    ),
    Row(
        "B7", "token expiry and rotation, a kill between answer and commit", "1 refresh for each, lost ones reported",
        "C", full=4, tests=tuple(
            _FAILPOINTS + name for name in (
                "test_an_account_survives_a_crash_around_its_token_refresh",
                "test_tokens_lost_between_answer_and_commit_hold_the_post_until_the_account_is_linked_again",
                "test_tokens_lost_between_answer_and_commit_are_fetched_again_where_the_old_ones_still_work",
            )
        ),
    ),
    Row(
        "B8", "a worker that is stopped past its lease, and goes on", "50 times, 0 writes and 0 calls by the stale one",
        "N", full=50, run=lease.stale_worker, control=(f"{_CONTROLS}test_a_daemon_without_fencing_is_caught",),
        note="two nodes on one PostgreSQL; stopped until the other one has it, some tenths of a second past a lease of 2 s",
    ),
    Row(
        "B9", "two daemons on one state folder", "the second ends at once, 0 doubled", "C", tests=tuple(
            f"tests/e2e/test_second_daemon.py::{name}" for name in (
                "test_second_daemon_on_one_state_folder_is_refused_at_once",
                "test_refused_daemon_takes_nothing_from_the_first",
                "test_lock_of_a_killed_daemon_stops_nobody",
            )
        ),
    ),
    Row(
        "B10", "malformed commands among good ones", "the good ones done, the loop not stalled", "C",
        tests=("tests/e2e/test_bad_input.py",), note="without commands that crash the daemon",
    ),
    Row(
        "B11", "50,000 commands in a minute", "50 MiB more at the most, refusals say when, others' p95 at most 1 s",
        "N", full=50_000, run=flood.flood, alone=True,
    ),
    Row(
        "B12", "orders, kills, clock jumps, faults in any order, against a model", "2,000 runs, 0 violations", "N",
        full=2000, tests=("tests/crash/test_any_order.py",), environ=_model, lanes=2,
        note="in one process, in virtual time; up to 50 steps a run",
    ),
)  # fmt: skip

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

E = (
    Row(
        "E1", "`systemd-analyze verify` and `security`", "0 warnings, at most 2.2", "C", run=units.exposure,
        note="on this machine's systemd and on that of the next Debian, a tree made with debootstrap",
    ),
    Row(
        "E2", "a look from inside the unit", "Chromium's sandbox whole, keys closed", "C", run=units.inside,
        note="two windows on the unit's own screen; each process of the unit is looked at",
    ),
    Row(
        "E3", "SIGKILL, SIGSTOP, a loop that hangs, a thread that ends", "found in 8 s, ready 3.2 s later", "N",
        full=80, run=units.deaths, note="WatchdogSec=3, RestartSec=0.2; a limit is passed when it is passed by 10 s, for a "
        "machine with other work; a post is under way each time. A broker's thread that hangs and does not end is found "
        "after 90 s, which is not tried here",
    ),
    Row(
        "E4", "stop while uploading, with three browsers", "exit 0 in 20 s, nothing left, one init", "N", full=50,
        run=units_ends.stops, note="20 s are passed when they are passed by 10 s",
    ),
    Row(
        "E5", "a crash loop, crashes by a post, a bad configuration", "stops trying, 0 posts meanwhile", "C", full=9,
        run=units_ends.loops, note="each time with a post that is due meanwhile; RestartSec=0.2",
    ),
    Row(
        "E6", "reload under load, good and bad settings in turn", "0 commands lost, 0 connections cut", "C", full=20,
        run=units_reloads.reloads, note="orders over MQTT, events over HTTP",
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

ROWS = (*A, *B, *C, *D, *E, *S)
RELEASE = tuple(row for row in ROWS if row.part in "ABE")
WEEKLY = tuple(row for row in ROWS if row.part in "CDS")
