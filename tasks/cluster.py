"""
The tasks of talks on Dask: worker processes on this machine, or a cluster that runs already.

Only plain data travels. Each worker process builds its own source and teacher, and takes its share of the calls and
tokens a minute that the preset allows the teacher. `max_usd` needs no share: the ledger of calls reserves it.
"""

import hashlib
import os
import socket
import sys
import tempfile
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from prefect.settings import PREFECT_API_URL
from prefect.task_runners import TaskRunner

from understudy import locks
from understudy.errors import ConfigError
from understudy.sections import PluginSpec, RunnerSettings
from understudy.workspace import Workspace

SHARED = ("concurrency", "requests_per_minute", "tokens_per_minute")
CONNECT_SECONDS = 10


def runner(settings: RunnerSettings) -> TaskRunner[Any]:
    """Dask as a preset wants it. Raises ConfigError when it is not installed, or no scheduler answers."""
    try:
        from prefect_dask import DaskTaskRunner
    except ImportError as error:
        raise ConfigError(
            [f"runner.use: dask needs prefect-dask ({error.name} is missing): pip install prefect-dask distributed"]
        ) from None
    if settings.address:
        _reach(settings.address)
    _let_workers_find_the_server()
    started = {"n_workers": settings.processes, "threads_per_worker": settings.workers, "host": "127.0.0.1"}
    running: TaskRunner[Any] = (
        DaskTaskRunner(address=settings.address)
        if settings.address
        else DaskTaskRunner(cluster_kwargs=started | {"dashboard_address": None})
    )
    return running


def inside() -> bool:
    """True in a task that a worker process runs."""
    if "distributed" not in sys.modules:
        return False
    from distributed import get_worker

    try:
        get_worker()
    except ValueError:
        return False
    return True


def on_worker(workspace: Workspace) -> Workspace:
    """`workspace` on a worker of a cluster: with a folder of its own, which holds nothing but the ledger's address."""
    if workspace.config.runner.address is None:
        return workspace
    name = hashlib.sha256(str(workspace.config.ledger).encode()).hexdigest()[:8]
    return workspace.model_copy(update={"home": Path(tempfile.gettempdir()) / f"understudy-{locks.user()}-{name}"})


def share(spec: PluginSpec, settings: RunnerSettings) -> PluginSpec:
    """A teacher's options as one of several worker processes may use them; the same as they are elsewhere."""
    count = _processes(settings) if inside() else 1
    if count < 2:
        return spec
    limits = {name: max(1, spec.options[name] // count) for name in SHARED if spec.options.get(name)}
    return PluginSpec(use=spec.use, **(spec.options | limits))


def _processes(settings: RunnerSettings) -> int:
    """How many worker processes share the limits, as one of them sees it; those that are starting count where known."""
    if settings.address is None:
        return settings.processes
    from distributed import get_worker
    from distributed.utils import sync

    # Not through get_client: where several tasks begin at once, its client may know of no worker at all.
    worker = get_worker()
    return len(sync(worker.loop, worker.scheduler.identity, n_workers=-1)["workers"])


def _reach(address: str) -> None:
    """Raises ConfigError when nothing listens there."""
    parts = urlsplit(address)
    try:
        socket.create_connection((str(parts.hostname), parts.port or 0), CONNECT_SECONDS).close()
    except OSError as error:
        raise ConfigError(
            [
                f"runner.address: no Dask scheduler answers at {address!r} ({error.strerror or error}); start it "
                "(dask scheduler), or leave the address out to have workers started here"
            ]
        ) from None


def _let_workers_find_the_server() -> None:
    """Without a server, each worker would start one of its own: they use the temporary one of this run."""
    if PREFECT_API_URL.value():
        os.environ["PREFECT_API_URL"] = str(PREFECT_API_URL.value())
        return
    from prefect.server.api.server import SubprocessASGIServer  # no public way to the address of the temporary server

    server = SubprocessASGIServer()
    server.start()
    os.environ["PREFECT_API_URL"] = server.api_url
