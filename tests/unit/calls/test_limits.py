"""A limit is read from a refusal in any provider's words, and calls are made that fit it."""

import math

import pytest

from understudy.calls.limits import Learned, group_size, limit_in

ASKED, PROMPT = 20_000, 3000


@pytest.mark.parametrize(
    ("message", "room"),
    [
        ("max_tokens is too large: 20000. This model supports at most 16384 completion tokens.", 16384),
        ("Invalid max_tokens value, the valid range of max_tokens is [1, 8192]", 8192),
        ("max_tokens: 20000 > 8192, which is the maximum allowed number of output tokens for m-3-5-20240620", 8192),
        ("`max_tokens` must be less than or equal to `8192`, the maximum value for it", 8192),
        ("a maxOutputTokens value of 20000 but the supported range is from 1 (inclusive) to 8193 (exclusive).", 8192),
        ("[{'loc': ['body', 'max_tokens'], 'msg': 'Input should be less than or equal to 4096'}]", 4096),
        ("The maximum tokens you requested exceeds the model limit of 4,096.", 4096),
        ("Range of max_tokens should be [1, 8192]", 8192),
        ("Error code: 400 - max_completion_tokens must be <= 4096", 4096),
    ],
)
def test_a_cap_is_read_in_any_words(message: str, room: int) -> None:
    limit = limit_in(400, message, ASKED, PROMPT)
    assert limit == (room, Learned(output=room))


@pytest.mark.parametrize(
    "message",
    [
        "This model's maximum context length is 16384 tokens. However, you requested 23000 tokens (3000 in the "
        "messages, 20000 in the completion).",
        "This model's maximum context length is 16,384 tokens, however you requested 23,000 tokens (3,000 in your "
        "prompt; 20,000 for the completion).",
        "This endpoint's maximum context length is 16384 tokens. However, you requested about 23000 tokens (3000 of "
        "text input, 20000 in the output).",
        "'max_tokens' is too large: 20000. This model's maximum context length is 16384 tokens and your request has "
        "3000 input tokens (20000 > 16384 - 3000).",
        "Requested token count exceeds the model's maximum context length of 16384 tokens. You requested a total of "
        "23000 tokens: 3000 tokens from the input messages and 20000 tokens for the completion.",
        "input length and `max_tokens` exceed context limit: 3000 + 20000 > 16384, decrease input length",
        "`inputs` tokens + `max_new_tokens` must be <= 16384. Given: 3000 `inputs` tokens and 20000 `max_new_tokens`",
        "This model's maximum context length is 16384 tokens. However, you requested 23000 tokens.",
    ],
)
def test_a_window_leaves_what_the_talk_does_not_take(message: str) -> None:
    limit = limit_in(400, message, ASKED, 9999)
    assert limit and limit.learned == Learned(window=16384)
    assert 16384 - 3000 - 100 < limit.room <= 16384 - 3000


@pytest.mark.parametrize(
    "message",
    [
        "Prompt contains 40000 tokens, too large for model with 32768 maximum context length",
        "prompt is too long: 210000 tokens > 200000 maximum",
        "the request exceeds the available context size (4096 tokens), try increasing it (5000 prompt tokens)",
    ],
)
def test_a_talk_longer_than_the_window_leaves_no_room(message: str) -> None:
    limit = limit_in(400, message, 500, PROMPT)
    assert limit and limit.room < 0 and limit.learned.window


@pytest.mark.parametrize(
    ("status", "message"),
    [
        (400, "Unsupported parameter: 'max_tokens' is not supported with this model. Use 'max_completion_tokens'."),
        (400, "Error code: 400 - 'max_tokens' is not supported with o9-2099-01-01"),
        (400, "Temperature must be between 0 and 2, not 300"),
        (500, "max_tokens is too large, at most 4096"),
        (429, "Rate limit reached: Limit 500 requests per minute"),
    ],
)
def test_other_refusals_name_no_limit(status: int, message: str) -> None:
    assert limit_in(status, message, ASKED, PROMPT) is None


def test_what_holds_for_one_call_alone_is_not_remembered() -> None:
    poor = limit_in(402, "You requested up to 20000 tokens, but can only afford 9000.", ASKED, PROMPT)
    assert poor == (9000, Learned())
    minute = limit_in(429, "Request too large on tokens per min (TPM): Limit 12000, Requested 23000.", ASKED, PROMPT)
    assert minute == (9000, Learned())


def test_a_learned_limit_only_becomes_narrower() -> None:
    learned = Learned(output=8192).narrowed(Learned(window=16384)).narrowed(Learned(output=16384, window=8000))
    assert learned == Learned(8192, 8000)
    assert (learned.room(1000), Learned().room(1000), Learned(output=50).room(10)) == (7000, None, 50)


@pytest.mark.parametrize("count", [1, 2, 7, 40, 60])
@pytest.mark.parametrize("most", [100, 1300, 4096, 8192, 16384, 100_000])
def test_groups_fit_are_about_equal_and_as_few_as_can_be(count: int, most: int) -> None:
    size = group_size(count, most, each=900, fixed=400)
    fits = max(1, (most - 400) // 900)
    assert 1 <= size <= min(count, fits)
    assert math.ceil(count / size) == math.ceil(count / min(fits, count))
