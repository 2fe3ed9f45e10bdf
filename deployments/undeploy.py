"""Stop what `understudy deploy` started, and remove what it created on the server.

Talks, models and the history of runs stay.
"""

from argparse import Namespace

from understudy.deployments import packaged, processes, server
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
    worker = processes.stop(running.worker)
    if problem := answers(running.api):
        lines = [f"{running.api}: {problem}; deployments on it stay until it runs again"]
    else:
        _remove(running)
        lines = [f"Removed: the deployments of {', '.join(running.channels) or 'no channel'}."]
    server_stopped = processes.stop(running.server)
    (state / processes.FILE).unlink()
    stopped = [*["worker"] * worker, *["server"] * server_stopped]
    lines.append(f"Stopped: {', '.join(stopped) or 'nothing, it had already stopped'}.")
    lines.append("Talks and models stay where they are.")
    if running.server:
        lines.append(f"The history of runs and the logs stay in {state}; delete that folder to remove them.")
    else:
        lines.append(
            f"The history of runs and the limits 'teacher' and 'youtube' stay on {running.api}; logs are in {state}."
        )
    return Result("\n".join(lines), {"stopped": stopped})


def _remove(running: processes.Running) -> None:
    """Remove deployments, automations and the pools, if they were made here."""
    with server.client(running.api) as client:
        for channel in running.channels:
            server.remove_deployments(client, channel)
        server.remove_automations(client, packaged.FOLDER / "automations.yaml")
        for pool in filter(None, (running.pool, *running.training_pools)):
            client.delete_work_pool(pool)
