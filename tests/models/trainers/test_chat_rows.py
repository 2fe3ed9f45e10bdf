"""Laws of rows and batches."""

from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from understudy.errors import ConfigError, DatasetError
from understudy.records import ChatExample, Message
from understudy.trainers import chat_rows
from understudy.trainers.chat_rows import Row
from understudy.trainers.lora_job import LoraOptions
from understudy.trainers.plan import plan_for

ROWS = [Row(list(range(1, 2 + length)), length // 2) for length in (5, 70, 33, 8, 64, 31, 120, 9, 40, 12, 77)]


@pytest.mark.parametrize("size", [1, 3, 4, 11, 50])
def test_an_epoch_holds_every_row_exactly_once(size: int) -> None:
    dice, ends = np.random.default_rng(1), chat_rows.edges(ROWS, size)
    for order in (
        chat_rows.epoch(ROWS, ends, dice),
        chat_rows.epoch(ROWS, ends, dice),
        chat_rows.epoch(ROWS, ends, None),
    ):
        assert Counter(i for batch in order for i in batch) == Counter(range(len(ROWS)))
        assert len(order) == len(ends) >= -(-len(ROWS) // size)


def many_rows() -> list[Row]:
    """As many rows as a channel has, as long as answers are."""
    dice = np.random.default_rng(3)
    return [Row([1] * int(tokens), 9) for tokens in dice.integers(40, 700, 1400)]


def test_batches_stay_within_the_budget_and_hold_little_padding() -> None:
    rows = many_rows()
    ends = chat_rows.edges(rows, 8, 3000)
    order = chat_rows.epoch(rows, ends, np.random.default_rng(1))
    assert max(len(batch) for batch in order) == 8
    assert max(len(batch) * max(chat_rows.width(rows[i]) for i in batch) for batch in order) <= 3000
    assert chat_rows.padding_share(rows, ends) < 0.03


@pytest.mark.parametrize("size", [1, 2, 5])
def test_batches_end_where_the_rows_do(size: int) -> None:
    for rows in (ROWS, ROWS[:1], [ROWS[1]] * 7, []):
        ends = chat_rows.edges(rows, size)
        assert ends == sorted(set(ends)) and (ends[-1:] == [len(rows)] if rows else ends == [])


def test_training_is_shuffled_again_each_epoch_and_by_its_seed_alone() -> None:
    def first(seed: int | None, count: int) -> list[bytes]:
        return [batch.tobytes() for (batch, _), _ in zip(chat_rows.batches(ROWS, 2, seed), range(count))]

    np.random.seed(0)
    one = first(3, 12)
    np.random.seed(9)
    assert one == first(3, 12) and one != first(4, 12)
    assert one[:6] != one[6:]
    assert first(None, 12) == first(None, 12) and len(first(None, 12)) == 6


def test_padding_is_zeros_behind_whole_rows() -> None:
    batch, lengths = chat_rows.pad(ROWS[:3])
    assert (batch.shape[1] - 1) % chat_rows.PAD_TO == 0
    for row, tokens, (offset, length) in zip(ROWS, batch, lengths):
        assert (offset, length) == (row.offset, len(row.tokens))
        assert tokens[:length].tolist() == row.tokens and not tokens[length:].any()


def test_a_row_over_the_limit_is_left_out_whole_and_listed(tmp_path: Path) -> None:
    kept, numbers = chat_rows.within(ROWS, 64)
    assert all(row in ROWS for row in kept) and len(kept) + len(numbers) == len(ROWS)
    assert [len(ROWS[number - 1].tokens) for number in numbers] == [71, 65, 121, 78]
    chat_rows.list_dropped(tmp_path / "dropped.jsonl", "train", ROWS, numbers, 64)
    assert '{"split": "train", "row": 2, "tokens": 71, "limit": 64}' in (tmp_path / "dropped.jsonl").read_text()


class Template:
    """A tokenizer of characters, whose template is given as words around each turn."""

    def __init__(self, end: str, changes_question: bool = False) -> None:
        self.end, self.changes_question = end, changes_question

    def apply_chat_template(self, conversation: list[dict[str, str]], **how: object) -> list[int]:
        text = "".join(f"<{turn['role'][0]}>{turn['content']}{self.end}" for turn in conversation)
        if self.changes_question and len(conversation) == 1:
            text = "!" + text
        return [ord(letter) for letter in text + ("<a>" if how.get("add_generation_prompt") else "")]

    def decode(self, token_ids: list[int], **how: object) -> str:
        return "".join(map(chr, token_ids))


CHAT = ChatExample(messages=[Message(role="user", content="why"), Message(role="assistant", content="so")])


def test_a_row_ends_with_the_end_token_and_the_loss_starts_at_the_answer() -> None:
    row = chat_rows.encode(CHAT, Template("#\n"), {ord("#")})
    assert "".join(map(chr, row.tokens)) == "<u>why#\n<a>so#"
    assert "".join(map(chr, row.tokens[row.offset :])) == "so#"


@pytest.mark.parametrize(
    "template, word",
    [
        (Template("\n"), "never stop"),
        (Template("#x"), "never stop"),
        (Template("#", changes_question=True), "differently"),
    ],
)
def test_a_template_that_would_teach_something_else_is_refused(template: Template, word: str) -> None:
    with pytest.raises(DatasetError, match=word):
        chat_rows.encode(CHAT, template, {ord("#")})


def test_a_row_without_an_answer_is_refused(tmp_path: Path) -> None:
    (tmp_path / "train.jsonl").write_text('{"messages": [{"role": "user", "content": "why"}]}\n')
    with pytest.raises(DatasetError, match=r"train\.jsonl, row 1"):
        chat_rows.read(tmp_path / "train.jsonl")


@pytest.mark.parametrize("done", [0, 1, 5, 6, 13])
def test_training_that_resumes_sees_the_batches_it_has_not_seen(done: int) -> None:
    whole = [batch.tobytes() for (batch, _), _ in zip(chat_rows.batches(ROWS, 2, 3), range(20))]
    rest = [batch.tobytes() for (batch, _), _ in zip(chat_rows.batches(ROWS, 2, 3, done), range(20 - done))]
    assert rest == whole[done:]


def test_a_step_holds_short_rows_and_long_ones() -> None:
    rows, accumulation = many_rows(), 4
    ends = chat_rows.edges(rows, 2)
    order = chat_rows.epoch(rows, ends, np.random.default_rng(1), accumulation)
    assert sorted(i for batch in order for i in batch) == list(range(len(rows)))
    longest = [max(chat_rows.width(rows[i]) for i in batch) for batch in order]
    steps = [longest[at : at + accumulation] for at in range(0, len(order) - accumulation, accumulation)]
    assert all(step == sorted(step) for step in steps)  # a batch of each quarter of the lengths
    means = [sum(step) / accumulation for step in steps]
    assert np.std(means) < np.std(longest) / accumulation
    assert len({tuple(step) for step in steps}) > len(steps) / 2


@pytest.mark.parametrize("accumulation", [1, 2, 3, 7, 50])
def test_an_epoch_of_any_accumulation_holds_every_row_exactly_once(accumulation: int) -> None:
    order = chat_rows.epoch(ROWS, chat_rows.edges(ROWS, 2), np.random.default_rng(1), accumulation)
    assert Counter(i for batch in order for i in batch) == Counter(range(len(ROWS)))


def test_a_line_that_is_no_chat_is_named_and_a_line_separator_in_an_answer_ends_no_row(tmp_path: Path) -> None:
    file = tmp_path / "train.jsonl"
    chat = '{"messages": [{"role": "user", "content": "Why?"}, {"role": "assistant", "content": "So\u2028it is."}]}\n'
    file.write_text(chat, encoding="utf-8")
    assert chat_rows.read(file)[0].messages[1].content == "So\u2028it is."
    file.write_text(f'{chat}\n{{"text": "hello"}}\n', encoding="utf-8")
    with pytest.raises(DatasetError, match=r'^train\.jsonl, row 2: \{"text": "hello"\} is not a chat; a row is'):
        chat_rows.read(file)


def test_a_step_of_more_than_all_epochs_is_refused_with_numbers() -> None:
    def options(accumulation: int, epochs: float) -> LoraOptions:
        return LoraOptions(gradient_accumulation_steps=accumulation, epochs=epochs, evaluations_per_epoch=1)

    assert [plan_for(2, options(*values)).iterations for values in ((2, 0.01), (2, 1), (4, 2), (3, 2))] == [2, 2, 4, 6]
    with pytest.raises(ConfigError, match=r"steps: 7 iterations make a step here, but an epoch has 2 and .* 3;"):
        plan_for(2, options(7, 3))
