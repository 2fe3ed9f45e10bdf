"""
`python deployments/undeploy.py`: what deploy.py started is stopped, and what it made on the server is taken away.

Talks, models and the history of runs stay.
"""

import argparse
import os
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from understudy.deployments import processes, server  # noqa: E402
from understudy.deployments.deploy import STATE  # noqa: E402
from understudy.tasks.server import answers  # noqa: E402


def main(arguments: list[str] | None = None) -> int:
    """Undeploy; returns the exit status."""
    p = argparse.ArgumentParser(prog="python deployments/undeploy.py", description=(__doc__ or "").strip())
    p.add_argument("--state", type=Path, default=STATE, metavar="DIR", help=argparse.SUPPRESS)
    state: Path = p.parse_args(arguments).state.resolve()
    os.chdir(ROOT)
    running = processes.load(state)
    if not running.api:
        print("nothing is deployed from here")
        return 0
    worker = processes.stop(running.worker)
    if problem := answers(running.api):
        print(f"{running.api}: {problem}; deployments on it stay until it runs again")
    else:
        _take_away(running)
    stopped = processes.stop(running.server)
    (state / processes.FILE).unlink()
    print(f"Stopped: {', '.join([*['worker'] * worker, *['server'] * stopped]) or 'nothing, it was stopped already'}.")
    print("Talks and models stay where they are.")
    if running.server:
        print(f"The history of runs and the logs stay in {state}; delete that folder to be rid of them.")
    else:
        print(f"The history of runs and the limits 'teacher' and 'youtube' stay on {running.api}; logs are in {state}.")
    return 0


def _take_away(running: processes.Running) -> None:
    """Deployments, automations and the pool, if it was made here."""
    with server.client(running.api) as client:
        for channel in running.channels:
            server.remove_deployments(client, channel)
        server.remove_automations(client, ROOT / "deployments" / "automations.yaml")
        if running.pool:
            client.delete_work_pool(running.pool)
    print(f"Taken away: the deployments of {', '.join(running.channels) or 'no channel'}.")


if __name__ == "__main__":
    raise SystemExit(main())
