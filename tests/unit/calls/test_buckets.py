"""The buckets let through what the provider allows, not more, and soon after not less."""

import pytest

from understudy.calls import Call, Limits
from understudy.calls.buckets import Bucket, Buckets, Pace

CALL = Call("answers", "a", "l", "m", (), None, {}, 400, input_tokens=500, output_tokens=300)


def sent_within(bucket: Bucket, seconds: float, cost: float = 1) -> int:
    """How many go out when somebody always waits."""
    now, sent = 0.0, 0
    while (wait := bucket.wait_seconds(cost, now)) + now <= seconds:
        now += wait
        bucket.take(cost, now)
        sent += 1
    return sent


def test_a_minute_lets_through_a_full_bucket_and_its_refill() -> None:
    assert sent_within(Bucket(180), 40) == 180 + 120


def test_without_a_limit_nothing_waits() -> None:
    buckets = Buckets()
    for _ in range(1000):
        buckets.take(CALL, 0.0)
    assert buckets.wait_seconds(CALL, 0.0) == 0


def test_a_limit_learnt_late_counts_what_was_sent_before() -> None:
    bucket = Bucket()
    marks = [bucket.take(1, 0.0) for _ in range(20)]
    bucket.learn(30, 29, marks[0], 1, 0.0)
    free = 0
    while bucket.wait_seconds(1, 0.0) == 0:
        bucket.take(1, 0.0)
        free += 1
    assert free == 10


def test_the_header_counts_when_somebody_else_uses_the_same_limit() -> None:
    bucket = Bucket(100)
    bucket.learn(100, 0, bucket.take(1, 0.0), 1, 0.0)
    assert bucket.wait_seconds(1, 0.0) == pytest.approx(0.6)


def test_an_old_header_does_not_hold_back_what_was_refilled_since() -> None:
    bucket = Bucket(60)
    bucket.learn(60, 0, bucket.take(1, 0.0), 1, 30.0)
    assert bucket.wait_seconds(30, 30.0) == 0 and bucket.wait_seconds(31, 30.0) > 0


def test_headers_give_back_what_was_counted_too_dear() -> None:
    bucket = Bucket()
    bucket.learn(1000, 990, bucket.take(900, 0.0), 900, 0.0)
    assert bucket.wait_seconds(900, 0.0) == 0


def test_the_preset_is_never_raised_by_a_header() -> None:
    bucket = Bucket(10)
    bucket.learn(1000, 999, bucket.take(10, 0.0), 10, 0.0)
    assert bucket.wait_seconds(1, 0.0) == pytest.approx(6)


def test_a_call_larger_than_the_bucket_goes_when_it_is_full() -> None:
    bucket = Bucket(60)
    bucket.take(60, 0.0)
    assert bucket.wait_seconds(1000, 0.0) == pytest.approx(60)


def test_tokens_count_by_the_cap_or_by_the_estimate_whichever_is_more() -> None:
    buckets = Buckets(tokens_per_minute=800)
    buckets.take(CALL, 0.0)
    assert buckets.wait_seconds(CALL, 0.0) == pytest.approx(60)
    buckets.learn(CALL, Limits(), buckets.take(CALL, 60.0), 60.0)


def test_a_burst_of_429s_shrinks_once_and_replies_grow_it_back() -> None:
    pace = Pace(20.0)
    for _ in range(20):
        pace.rate_limited(1.0, 2.0, 3.0)
    assert pace.width == 15 and pace.resume_at == 5
    for _ in range(100):
        pace.replied(6.0)
    assert pace.width == 20


def test_scattered_429s_do_not_shrink() -> None:
    pace = Pace(20.0)
    for i in range(100):
        pace.rate_limited(i, i, 1.0)
        pace.rate_limited(i, i, 1.0)
        pace.replied(i)
    assert pace.width == 20


def test_429s_beside_more_calls_that_were_accepted_do_not_shrink() -> None:
    pace = Pace(20.0)
    for _ in range(5):
        pace.rate_limited(1.0, 1.1, 1.0, accepted=17)
    assert pace.width == 20
    for accepted in range(16, 2, -1):
        pace.rate_limited(1.0, 1.1, 1.0, accepted)
    assert pace.width == 15
