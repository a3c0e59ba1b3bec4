"""What waits to go out: letters in order, answers by turns, and acks behind all that came before them."""

from collections import OrderedDict, deque

from adapters.mqtt.letters import Ack, Letter


class Line:
    """Two lines take turns: letters in the order of their rows, and answers that stand in no row.

    The answers have a line for each actor, who take turns as well: whoever sends more than can be answered waits behind
    himself only. An ack leaves when every letter has left that was there before it: after a crash an order whose answer
    has not gone out comes again, and acks keep their order, as MQTT wants it.
    """

    def __init__(self, most_answers: int, most_of_one: int) -> None:
        self._most_answers = most_answers
        self._most_of_one = most_of_one
        self.clear()

    def __len__(self) -> int:
        return len(self._letters) + self._answer_count + len(self._acks)

    @property
    def letters(self) -> int:
        """Return how many letters wait that are not answers."""
        return len(self._letters)

    @property
    def answers(self) -> int:
        """Return how many answers wait."""
        return self._answer_count

    def clear(self) -> None:
        """Forget everything."""
        self._letters: deque[tuple[int, Letter]] = deque()
        self._answers: OrderedDict[str, deque[tuple[int, Letter]]] = OrderedDict()
        self._answer_count = 0
        self._acks: deque[tuple[int, Ack]] = deque()
        self._count = 0
        self._waiting: deque[int] = deque()  # the numbers of all letters and answers, in order
        self._gone: set[int] = set()  # those of them that have left out of their order
        self._was_letter = False

    def put(self, letter: Letter) -> None:
        """Append a letter."""
        self._letters.append((self._next_number(), letter))

    def put_answer(self, actor: str, letter: Letter) -> bool:
        """Append an answer; return False, and forget it, where too many wait."""
        found = self._answers.get(actor, ())
        if self._answer_count >= self._most_answers or len(found) >= self._most_of_one:
            return False
        self._answers.setdefault(actor, deque()).append((self._next_number(), letter))
        self._answer_count += 1
        return True

    def put_ack(self, ack: Ack) -> None:
        """Append an ack."""
        self._acks.append((self._count, ack))

    def next_letter(self) -> Letter | None:
        """Take out what goes next, None where nothing waits."""
        if self._letters and not (self._answers and self._was_letter):
            self._was_letter = True
            number, letter = self._letters.popleft()
        elif self._answers:
            self._was_letter = False
            actor, line = self._answers.popitem(last=False)
            number, letter = line.popleft()
            if line:
                self._answers[actor] = line
            self._answer_count -= 1
        else:
            return None
        self._gone.add(number)
        return letter

    def next_ack(self) -> Ack | None:
        """Take out the next ack if it may leave."""
        while self._waiting and self._waiting[0] in self._gone:
            self._gone.remove(self._waiting.popleft())
        if not self._acks or (self._waiting and self._waiting[0] <= self._acks[0][0]):
            return None
        return self._acks.popleft()[1]

    def forget_rows(self) -> int:
        """Take out the letters that stand in the database; return how many."""
        kept = deque(item for item in self._letters if not item[1].row)
        forgotten = len(self._letters) - len(kept)
        self._gone.update(number for number, letter in self._letters if letter.row)
        self._letters = kept
        return forgotten

    def end_with(self, letter: Letter) -> None:
        """Let this letter be the last one; the acks follow it."""
        acks = [ack for _, ack in self._acks]
        self.clear()
        self.put(letter)
        for ack in acks:
            self.put_ack(ack)

    def _next_number(self) -> int:
        self._count += 1
        self._waiting.append(self._count)
        return self._count
