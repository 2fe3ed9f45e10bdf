"""Errors travel between processes as they are."""

import pickle

from understudy.errors import ConfigError, Refused


def test_errors_of_a_worker_arrive_with_all_they_say() -> None:
    error = pickle.loads(pickle.dumps(ConfigError(["base: is missing", "teacher: is unknown"])))
    assert error.problems == ["base: is missing", "teacher: is unknown"]
    assert str(error) == "- base: is missing\n- teacher: is unknown"
    refused = pickle.loads(pickle.dumps(Refused("gone", "private", 60)))
    assert (str(refused), refused.status, refused.retry_seconds) == ("gone", "private", 60)
