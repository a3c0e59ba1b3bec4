"""Rows of a release: crashes and the disk, commands and events, systemd."""

from tests.scorecard import (
    backup,
    crash,
    damage,
    disk,
    flood,
    keys,
    lease,
    relay,
    store,
    syscalls,
    units,
    units_ends,
    units_reloads,
)
from tests.scorecard.row import Row

_FAILPOINTS = "tests/crash/test_failpoints.py::"
_CONTROLS = "tests/crash/test_negative_controls.py::"
_MIGRATIONS = "tests/contract/test_migrations.py::"
_FAULTY = "tests/e2e/test_faulty_network.py"
_CLIENT = "tests/integration/test_tiktok_client.py::"


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


def _model(count: int, seed: int) -> dict[str, str]:
    return {"TOKD_MODEL_RUNS": str(count), "TOKD_MODEL_STEPS": "50", "TOKD_SEED": str(seed)}


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

ROWS = (*A, *B, *E)
