"""The line of what goes out over MQTT: rows in order, answers by turns, acks behind what came before them."""

from adapters.mqtt.letters import Ack, Letter
from adapters.mqtt.line import Line


def letter(text: str, row: int = 0) -> Letter:
    return Letter(kind="event", topic="t", payload=text.encode(), row=row)


def a_line(*, most: int = 1000, of_one: int = 500) -> Line:
    return Line(most, of_one)


def left(line: Line, most: int = 1000) -> list[str]:
    """Return what leaves, letters and acks, in order."""
    found = []
    for _ in range(most):
        while (ack := line.next_ack()) is not None:
            found.append(f"ack {ack.mid}")
        if (item := line.next_letter()) is None:
            return found
        found.append(item.payload.decode())
    return found


def test_rows_leave_in_their_order() -> None:
    line = a_line()
    for row in range(1, 6):
        line.put(letter(f"row {row}", row))

    assert left(line) == [f"row {row}" for row in range(1, 6)]
    assert len(line) == 0


def test_actors_who_are_answered_take_turns_and_a_row_waits_for_one_of_them_only() -> None:
    line = a_line()
    for number in range(100):
        line.put_answer("flood", letter(f"f{number}"))
    line.put_answer("steady", letter("s0"))
    line.put(letter("row 1", 1))
    line.put(letter("row 2", 2))

    assert left(line, 5) == ["row 1", "f0", "row 2", "s0", "f1"]


def test_an_actor_s_answers_keep_their_order() -> None:
    line = a_line()
    for number in range(4):
        line.put_answer("me", letter(f"m{number}"))
        line.put_answer("you", letter(f"y{number}"))

    found = left(line)

    assert [text for text in found if text[0] == "m"] == ["m0", "m1", "m2", "m3"]
    assert [text for text in found if text[0] == "y"] == ["y0", "y1", "y2", "y3"]


def test_an_ack_waits_for_all_that_stood_before_it_though_others_overtake_that() -> None:
    line = a_line()
    line.put_ack(Ack(1, 10, 1))
    line.put_answer("flood", letter("f0"))
    line.put_answer("flood", letter("f1"))
    line.put_ack(Ack(1, 11, 1))
    line.put_answer("steady", letter("s0"))
    line.put_ack(Ack(1, 12, 1))

    assert left(line) == ["ack 10", "f0", "s0", "f1", "ack 11", "ack 12"]


def test_what_does_not_fit_is_not_taken_and_takes_no_room_from_others() -> None:
    line = a_line(most=5, of_one=3)

    taken = [line.put_answer("flood", letter("f")) for _ in range(5)]

    assert taken == [True, True, True, False, False]
    assert [line.put_answer(actor, letter("x")) for actor in ("a", "b", "c")] == [True, True, False]
    assert line.answers == 5


def test_rows_that_are_forgotten_hold_up_no_ack() -> None:
    line = a_line()
    line.put(letter("ours"))
    line.put(letter("row 1", 1))
    line.put_ack(Ack(1, 11, 1))

    assert line.forget_rows() == 1
    assert left(line) == ["ours", "ack 11"]


def test_the_last_letter_is_followed_by_acks_only() -> None:
    line = a_line()
    line.put(letter("row 1", 1))
    line.put_answer("me", letter("m"))
    line.put_ack(Ack(1, 11, 1))

    line.end_with(letter("offline"))

    assert left(line) == ["offline", "ack 11"]
