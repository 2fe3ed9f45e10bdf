"""What became of the nights of a schedule, read from the server: the last one, its verdict, the next, the lost ones."""

import json
import urllib.error
import urllib.request
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple

from understudy.tasks.server import opened

from understudy.errors import UnderstudyError

ANSWER_SECONDS = 20.0
SILENT_HOURS = 36
BEGUN = ["COMPLETED", "FAILED", "CRASHED", "CANCELLED", "RUNNING", "CANCELLING", "PENDING"]
LATE = timedelta(minutes=15)
"""A night that is due and has not begun by then waits for a worker."""


class NoAnswer(UnderstudyError):
    """The server does not answer."""


class Night(NamedTuple):
    """One run of a schedule."""

    at: datetime
    state: str
    message: str
    """What the run said at its end; empty while it works."""


class Nights(NamedTuple):
    """The nights of one channel."""

    last: Night | None
    completed: datetime | None
    """When a sync of the channel was completed last, by a schedule or by hand."""
    next: datetime | None
    dropped: Sequence[datetime]
    """Nights since the last completed sync that found the channel in use, or were never begun."""
    since: datetime
    """When the schedule was made."""

    def silent(self, now: datetime) -> bool:
        """Whether nothing was completed for so long that somebody should know."""
        return now - max(self.completed or self.since, self.since) > timedelta(hours=SILENT_HOURS)

    def lines(self, now: datetime) -> list[str]:
        """The last night with its verdict, and the next one, in local time."""
        last = "none yet"
        if self.last:
            last = f"{_local(self.last.at)}  {self.last.state}" + (
                f": {self.last.message}" if self.last.message else ""
            )
        due = _local(self.next) if self.next else "none: no schedule is active"
        lines = [f"  {'last night':<16} {last}", f"  {'next night':<16} {due}"]
        if self.dropped:
            lines.append(f"  {'dropped':<16} {len(self.dropped)} nights since the last sync that was completed")
        if self.silent(now):
            when = f"since {_local(self.completed)}" if self.completed else "yet"
            lines.append(f"  {'silent':<16} no sync was completed {when}")
        return lines


def call(api: str, method: str, path: str, body: Any = None) -> Any:
    """What the server answers. Raises NoAnswer."""
    data = json.dumps(body).encode() if body is not None else None
    request = urllib.request.Request(
        f"{api}/{path}", method=method, data=data, headers={"content-type": "application/json"}
    )
    try:
        with opened(request, ANSWER_SECONDS) as reply:
            return json.loads(reply.read() or b"null")
    except (OSError, ValueError, urllib.error.HTTPError) as error:
        raise NoAnswer(f"{api} does not answer ({getattr(error, 'reason', None) or error})") from error


def of(api: str, channel: str, now: datetime) -> Nights | None:
    """The nights of a channel; None when it is not deployed there. Raises NoAnswer."""
    wanted = {"deployments": {"tags": {"all_": ["understudy", channel]}, "name": {"any_": [f"sync-channel-{channel}"]}}}
    if not (deployments := call(api, "POST", "deployments/filter", wanted)):
        return None
    [deployment] = deployments
    ended = _runs(api, deployment["id"], BEGUN, "EXPECTED_START_TIME_DESC")
    planned = _runs(api, deployment["id"], ["SCHEDULED"], "EXPECTED_START_TIME_ASC")
    completed = next((_time(run["end_time"]) for run in ended if run["state_type"] == "COMPLETED"), None)
    nights = [run for run in ended if run["auto_scheduled"]]
    late = [at for at in (_time(run["expected_start_time"]) for run in planned) if at < now - LATE]
    busy = [_time(run["expected_start_time"]) for run in nights if run["state_type"] == "CANCELLED"]
    since = _time(deployment["created"])
    dropped = sorted(at for at in [*late, *busy] if at > (completed or since))
    coming = (_time(run["expected_start_time"]) for run in planned if run["auto_scheduled"])
    last = nights[0] if nights else None
    return Nights(
        last=_night(last) if last else None,
        completed=completed,
        next=next((at for at in coming if at >= now - LATE), None),
        dropped=dropped,
        since=since,
    )


def _runs(api: str, deployment: str, states: list[str], sort: str) -> list[dict[str, Any]]:
    wanted = {"deployment_id": {"any_": [deployment]}, "state": {"type": {"any_": states}}}
    runs = call(api, "POST", "flow_runs/filter", {"flow_runs": wanted, "sort": sort, "limit": 100})
    return [dict(run) for run in runs]


def _night(run: dict[str, Any]) -> Night:
    message = str((run["state"] or {}).get("message") or "").partition("\n")[0]
    return Night(_time(run["expected_start_time"]), run["state_name"], message[:200])


def _time(text: str | None) -> datetime:
    return datetime.fromisoformat(text.replace("Z", "+00:00")) if text else datetime.fromtimestamp(0, UTC)


def _local(at: datetime) -> str:
    return at.astimezone().strftime("%Y-%m-%d %H:%M")
