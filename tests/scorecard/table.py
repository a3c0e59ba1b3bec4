"""Every row of the scorecard, in one table."""

from tests.scorecard import crash, disk, lease, relay, store, syscalls
from tests.scorecard.row import Row

_FAILPOINTS = "tests/crash/test_failpoints.py::"
_CONTROLS = "tests/crash/test_negative_controls.py::"
_TIME = "tests/integration/test_virtual_time.py::"
_MIGRATIONS = "tests/contract/test_migrations.py::"
_MEDIA = "tests/integration/test_media_library.py::"
_FAULTY = "tests/e2e/test_faulty_network.py"
_CLIENT = "tests/integration/test_tiktok_client.py::"
_SECRETS = "tests/e2e/test_secrets.py::"
_LEAK_CONTROL = "tests/e2e/test_session_soak.py::test_a_daemon_without_this_guard_is_caught_by_the_same_count"
_SYSTEMD = "it needs a running systemd of its own: not part of this command yet"


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
        "A7", "a damaged ledger", "refused or right, 0 posts made from a damaged ledger", "N",
        full=100, run=disk.damaged_ledger,
    ),
    _missing(
        "A8", "backup under load, restore, go on", "50 restores, 0 reposts", "N",
        "backup and restore are not part of the program yet",
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
    _missing(
        "A12", "rotation of the tokens' key under kills", "every row opens at every moment", "N",
        "no command seals stored tokens anew yet; tests/unit/test_vault.py shows that old and new ones open",
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
    _missing(
        "B11", "50,000 commands in a minute", "memory and queues within bounds, `busy` told", "N",
        "not built yet; the limits themselves: tests/unit/test_gates.py",
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
        ), note="with the core's own clock, not with that of a whole process",
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
        "D2", "kill -9 of the daemon with live browsers", "no browser left", "N",
        tests=("tests/e2e/test_session_kills.py",),
    ),
    Row(
        "D3", "browsers that crash, hang, never answer", "the session ends with a reason, the daemon lives", "N",
        tests=("tests/integration/test_browser_ends.py",), note="without a renderer that runs out of memory",
    ),
    _missing("D4", "few descriptors, few processes, little memory", "a named error, 0 lost", "N", "not built yet"),
    _missing("D5", "20,000 posts on end", "memory and log file flat", "N", "not built yet"),
    _missing(
        "D6", "a slow, half-open, resetting network", "0 stuck threads, goes on in 60 s", "N",
        "no row of its own yet; slow, cut and dead connections are in B5",
    ),
    Row(
        "D7", "broker restarts, wrong password, expired certificate", "back soon, one line a minute", "C",
        tests=("tests/integration/test_mqtt_restarts.py",),
    ),
)  # fmt: skip

E = (
    _missing("E1", "`systemd-analyze verify` and `security`", "0 warnings, at most 2.2", "C", _SYSTEMD),
    _missing("E2", "a look from inside the unit", "Chromium's sandbox whole, keys closed", "C", _SYSTEMD),
    _missing("E3", "SIGKILL, SIGSTOP, a loop that hangs", "ready again in time", "N", _SYSTEMD),
    _missing("E4", "stop while uploading, with browsers", "exit 0, nothing left", "N", _SYSTEMD),
    _missing("E5", "a crash loop, a bad configuration", "stops trying, 0 posts meanwhile", "C", _SYSTEMD),
    _missing("E6", "reload under load", "0 commands lost", "C", _SYSTEMD),
)

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
        tests=("tests/unit/test_wire_fuzz.py",), note="as many as the suite draws, not 100,000",
    ),
    Row(
        "S4", "generated and hostile HTTP", "0 answers of 5xx, 0 hangs", "N", full=30_000, short=3000,
        tests=("tests/e2e/test_http_fuzz.py", "tests/e2e/test_http_hostile.py"), environ=_requests,
    ),
    Row(
        "S5", "wrong names, origins and tokens", "0 of 200 pass", "C",
        tests=("tests/integration/test_http_strangers.py",), note="without a real browser's page",
    ),
    _missing("S6", "another user of the machine", "0 files readable, 0 ports drivable", "C", "not built yet"),
    Row(
        "S7", "canary secrets through a whole run", "0 found in any sink", "C", tests=(
            "tests/e2e/test_secrets.py", f"--deselect={_SECRETS}test_search_finds_a_canary_planted_in_a_post",
        ), control=(f"{_SECRETS}test_search_finds_a_canary_planted_in_a_post",),
    ),
    _missing("S8", "a hostile page in the browser", "0 requests taken, 0 files outside", "N", "not built yet"),
    Row(
        "S9", "the browser's switches", "none that undoes safety", "C",
        tests=("tests/unit/test_config_browser_args.py",), note="no exact list of all switches yet",
    ),
    Row(
        "S10", "paths that lead elsewhere, files swapped", "0 wrong files opened", "C", tests=tuple(
            _MEDIA + name for name in (
                "test_a_name_that_leaves_the_roots_is_refused", "test_a_pipe_is_refused_without_waiting_for_a_writer",
                "test_a_hard_link_is_refused_with_the_way_out", "test_a_device_is_refused",
                "test_a_file_that_changed_after_scheduling_is_not_opened",
                "test_a_scheduled_file_that_became_a_link_out_is_not_opened",
                "test_a_file_that_was_swapped_for_an_equal_one_is_not_recalled",
            )
        ), note="without 1,000 swaps at random moments",
    ),
    Row(
        "S11", "addresses in disguise", "0 let through", "C", tests=("tests/unit/test_media_addresses.py",),
        note="tokd opens no media address itself",
    ),
    Row(
        "S12", "the state folder at rest", "no secret in clear, closed to others", "C", tests=(
            f"{_SECRETS}test_no_file_of_the_state_folder_has_a_secret",
            f"{_SECRETS}test_state_folder_is_closed_to_others",
        ),
    ),
    Row(
        "S13", "the supply chain", "hashes only, no call at import", "C", tests=(
            "tests/unit/test_house.py::test_every_requirement_is_pinned_by_a_hash",
            "tests/unit/test_house.py::test_no_committed_file_names_a_package_index",
            "tests/unit/test_house.py::test_every_module_can_be_imported_and_does_nothing_by_that",
        ), note="without a list of contents and without a network that is closed",
    ),
    Row(
        "S14", "TLS that is not what it should be", "0 bytes of secrets sent", "C",
        tests=("tests/integration/test_tiktok_tls.py",),
    ),
    Row(
        "S15", "forged and repeated webhooks", "1,000, 0 changes", "C",
        tests=("tests/e2e/test_webhooks.py::test_a_thousand_forged_and_repeated_webhooks_change_nothing",),
    ),
    _missing(
        "S16", "a login that is not what it should be", "0 tokens stored", "C",
        "the login with TikTok is not part of the program yet",
    ),
)  # fmt: skip

ROWS = (*A, *B, *C, *D, *E, *S)
RELEASE = tuple(row for row in ROWS if row.part in "ABE")
WEEKLY = tuple(row for row in ROWS if row.part in "CDS")
