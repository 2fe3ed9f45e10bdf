"""The Prefect server of `understudy deploy`: a running one, or one started here, and the objects created on it."""

import contextlib
import socket
import sys
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml
from understudy.deployments import processes
from understudy.tasks.server import answers, database_problem, last_line

from understudy.errors import UnderstudyError

START_SECONDS = 150.0
TAG = "understudy"
BLOCK = "understudy-failed-run"
RETIRED = "understudy-silent-run-crashed"
"""An automation of earlier deployments, which took a run for dead whose machine had slept."""


class NotDeployed(UnderstudyError):
    """Something on this machine or on the server prevents it; the message says what to do."""


def chosen() -> str | None:
    """The server that PREFECT_API_URL or a profile names; None when one must be started here."""
    from prefect.settings import PREFECT_API_URL

    return PREFECT_API_URL.value() or None


def ready(state: Path, running: processes.Running, environment: Mapping[str, str]) -> str:
    """The address of a server that answers: the chosen one, the one started earlier, or a new one.

    One that was started for another port, by another version or in another environment is started again.
    """
    if api := chosen():
        if problem := answers(api):
            raise NotDeployed(
                f"PREFECT_API_URL is {api!r}, and {problem}; start that server, or unset PREFECT_API_URL "
                "(and the profile that sets it) to have one started here"
            )
        running.api = api
        return api
    port = running.port
    if not 0 < port < 65536:
        raise NotDeployed(f"--port {port} is not a port; choose one from 1024 to 65535")
    if processes.alive(running.server):
        assert running.server
        if not processes.differences(running.server, _made_with(environment, port)):
            _wait(state, running)
            return running.api
        processes.stop(running.server)
    if problem := database_problem(state / "prefect.db"):
        raise NotDeployed(problem)
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            raise NotDeployed(_taken(port)) from None
    start(state, running, environment)
    _wait(state, running)
    return running.api


def start(state: Path, running: processes.Running, environment: Mapping[str, str]) -> None:
    """Start a server on the recorded port; it answers some seconds later."""
    port = running.port
    running.api = f"http://127.0.0.1:{port}/api"
    command = [sys.executable, "-m", "prefect", "server", "start", "--host", "127.0.0.1", "--port", str(port)]
    # Without it the UI calls the server at port 4200, whatever --port is.
    ours = {**environment, "PREFECT_SERVER_UI_API_URL": running.api}
    ours.pop("PREFECT_API_URL", None)
    running.server = processes.start(command, state / "server.log", ours)
    running.server.made_with = _made_with(environment, port)
    processes.save(state, running)


def _made_with(environment: Mapping[str, str], port: int) -> dict[str, str]:
    ours = {name: value for name, value in environment.items() if name.startswith("PREFECT_SERVER_")}
    return processes.made_with(ours, port=str(port))


@contextlib.contextmanager
def client(api: str) -> Iterator[Any]:
    """A client of the server at `api`, once the limits between runs exist there."""
    from prefect.client.orchestration import get_client
    from prefect.settings import PREFECT_API_URL, temporary_settings
    from understudy.tasks import limits

    with temporary_settings({PREFECT_API_URL: api}):
        limits.ensure()
        with get_client(sync_client=True) as client:
            yield client


def make_pool(client: Any, name: str) -> bool:
    """See to it that there is a work pool `name`, of type process; True when it was not there."""
    from prefect.client.schemas.actions import WorkPoolCreate
    from prefect.exceptions import ObjectNotFound

    try:
        pool = client.read_work_pool(name)
    except ObjectNotFound:
        client.create_work_pool(WorkPoolCreate(name=name, type="process"))
        return True
    if pool.type != "process":
        raise NotDeployed(
            f"there is a work pool {name!r} already, of type {pool.type!r}, where a 'process' pool is needed; "
            "choose another name: --pool NAME (or machine.pool, of the preset)"
        )
    return False


def make_automations(client: Any, file: Path, notify: str | None) -> None:
    """Make the automations of `file`; the one that calls a webhook only with `notify`, else it is removed."""
    from prefect.events.schemas.automations import AutomationCore

    for retired in client.read_automations_by_name(RETIRED):
        client.delete_automation(retired.id)
    for description in yaml.safe_load(file.read_text(encoding="utf-8"))["automations"]:
        known = client.read_automations_by_name(description["name"])
        for action in description["actions"]:
            if "block_document_id" in action and notify:
                action["block_document_id"] = str(_webhook(notify))
        if any(action.get("block_document_id") == "{{ webhook }}" for action in description["actions"]):
            for one in known:
                client.delete_automation(one.id)
            continue
        automation = AutomationCore.model_validate(description)
        if known:
            client.update_automation(known[0].id, automation)
        else:
            client.create_automation(automation)


def remove_automations(client: Any, file: Path) -> None:
    """Remove the automations of `file`, and the webhook that one of them called."""
    from prefect.exceptions import ObjectNotFound

    for description in yaml.safe_load(file.read_text(encoding="utf-8"))["automations"]:
        for known in client.read_automations_by_name(description["name"]):
            client.delete_automation(known.id)
    with contextlib.suppress(ObjectNotFound):
        client.delete_block_document(client.read_block_document_by_name(BLOCK, "webhook").id)


def remove_deployments(client: Any, channel: str) -> None:
    """Remove the deployments of a channel; their results stay."""
    from prefect.client.schemas.filters import DeploymentFilter

    for deployment in client.read_deployments(deployment_filter=DeploymentFilter(tags={"all_": [TAG, channel]})):
        client.delete_deployment(deployment.id)


def remove_limits(client: Any, channel: str) -> None:
    """Remove the limits of a channel's deployments, which earlier versions had: its lock keeps runs apart.

    Their leases end a run whose machine slept for five minutes.
    """
    from prefect.client.schemas.actions import DeploymentUpdate
    from prefect.client.schemas.filters import DeploymentFilter

    for deployment in client.read_deployments(deployment_filter=DeploymentFilter(tags={"all_": [TAG, channel]})):
        if deployment.global_concurrency_limit:
            client.update_deployment(deployment.id, DeploymentUpdate(concurrency_limit=None))


def heard_of_worker(client: Any, pool: str, name: str) -> Any:
    """When the worker reported to the server last; None when it never did, or too long ago."""
    workers = client.read_workers_for_work_pool(pool)
    return next((one.last_heartbeat_time for one in workers if one.name == name and one.status == "ONLINE"), None)


def _webhook(url: str) -> Any:
    from prefect.blocks.webhook import Webhook

    return Webhook(method="POST", url=url, headers={"Content-Type": "application/json"}).save(BLOCK, overwrite=True)


def _wait(state: Path, running: processes.Running) -> None:
    end = time.monotonic() + START_SECONDS
    while answers(running.api):
        if not processes.alive(running.server):
            log = state / "server.log"
            raise NotDeployed(f"the server did not start ({last_line(log)}); see {log}")
        if time.monotonic() > end:
            raise NotDeployed(f"the server did not answer within {START_SECONDS:.0f} s; see {state / 'server.log'}")
        time.sleep(0.3)


def _taken(port: int) -> str:
    api = f"http://127.0.0.1:{port}/api"
    if answers(api) is None:
        return (
            f"port {port} is taken by another Prefect server; to use that one: PREFECT_API_URL={api}; else choose "
            f"another port: --port {port + 1}"
        )
    return f"port {port} is taken (`lsof -i :{port}` shows by what); choose another one: --port {port + 1}"
