"""Stop what `understudy deploy` started, and remove what it created on the server.

Talks, models and the history of runs stay.
"""

from argparse import Namespace
from pathlib import Path

from understudy.deployments import login, packaged, processes, server
from understudy.deployments.deploy import default_home as default_home  # noqa: PLC0414  # the same rule
from understudy.tasks.server import answers

from understudy.cli import Result

EXAMPLE = "understudy undeploy"


def main(args: Namespace) -> Result:
    """Undeploy."""
    packaged.configure_prefect()
    state = processes.folder(args.home)
    running = processes.load(state)
    if not running.api:
        return Result(f"nothing is deployed from {args.home}", {"stopped": []})
    processes.stop(running.watch)
    worker = processes.stop(running.worker)
    problem = answers(running.api)
    if problem:
        running.left = sorted({*running.left, *running.channels})
        lines = [
            f"{running.api}: {problem}; the deployments of {', '.join(running.left) or 'no channel'} are still in its "
            "database. The next `understudy undeploy` while it runs removes them, or the next `understudy deploy`."
        ]
    else:
        _remove(running)
        lines = [f"Removed: the deployments of {', '.join([*running.channels, *running.left]) or 'no channel'}."]
    stopped = [*["worker"] * worker, *["server"] * processes.stop(running.server)]
    _forget(args.home, running, kept=problem is not None)
    lines.append(f"Stopped: {', '.join(stopped) or 'nothing, it had already stopped'}.")
    lines += login.remove(args.home)
    lines.append("Talks and models stay where they are.")
    if running.server:
        lines.append(f"The history of runs and the logs stay in {state}; delete that folder to remove them.")
    else:
        lines.append(
            f"The history of runs and the limits 'teacher' and 'youtube' stay on {running.api}; logs are in {state}."
        )
    return Result("\n".join(lines), {"stopped": stopped, "left": running.left if problem else []})


def _forget(home: Path, running: processes.Running, kept: bool) -> None:
    """Forget what was deployed, but for what could not be removed."""
    state = processes.folder(home)
    if kept:
        running.channels, running.worker, running.watch = {}, None, None
        processes.save(state, running)
    else:
        (state / processes.FILE).unlink()
    processes.note_home(home, deployed=kept)


def _remove(running: processes.Running) -> None:
    """Remove deployments, automations and the pools, if they were made here."""
    with server.client(running.api) as client:
        for channel in [*running.channels, *running.left]:
            server.remove_deployments(client, channel)
        server.remove_automations(client, packaged.FOLDER / "automations.yaml")
        if running.pool_is_ours:
            client.delete_work_pool(running.pool)
        for pool in running.training_pools:
            client.delete_work_pool(pool)
