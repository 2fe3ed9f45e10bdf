"""Start a Prefect server, a worker and the deployments of a channel on this machine.

A second call applies changes and restarts what has stopped; `understudy undeploy` removes all of it.
"""

import os
import socket
import subprocess
import sys
import time
from argparse import ArgumentParser, Namespace
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo, available_timezones

import yaml
from understudy.deployments import packaged, processes, server

from understudy import config, registry
from understudy.cli import Result
from understudy.errors import ConfigError

EXAMPLE = "understudy deploy --preset my.yaml --timezone Europe/Berlin"
TEMPLATE = "sample"
"""The channel that prefect.yaml is written for; its name is replaced by that of another one."""
TRAINING = "train-model-"
"""Begins the name of the deployment whose workers are other machines."""
WORKER_SECONDS = 150.0


def options(p: ArgumentParser) -> None:
    p.add_argument("--preset", default="demo", metavar="NAME|FILE", help="the channel's settings (default: demo)")
    p.add_argument("--port", type=int, default=4200, help="port of the server on 127.0.0.1 (default: 4200)")
    p.add_argument("--cron", default="0 3 * * *", help="when to look for new talks (default: '0 3 * * *')")
    p.add_argument("--timezone", default="UTC", metavar="ZONE", help="of --cron, e.g. Europe/Berlin (default: UTC)")
    p.add_argument("--notify", metavar="URL", help="a webhook to call when a run fails")
    p.add_argument("--pool", default="understudy", help="name of the work pool (default: understudy)")


def main(args: Namespace) -> Result:
    """Deploy. Raises ConfigError, NotDeployed."""
    packaged.configure_prefect()
    preset = packaged.preset(args.preset)
    loaded, state = config.load(preset), processes.folder(args.home)
    channel, training_pool = loaded.name, loaded.machine.pool
    if problems := _problems(args):
        raise ConfigError(problems)
    state.mkdir(parents=True, exist_ok=True)
    state.chmod(0o700)  # the database holds every log line, and the key of its secrets
    running = processes.load(state)
    environment = _environment(state)
    api = server.ready(state, running, args.port, environment)
    environment["PREFECT_API_URL"] = api
    with server.client(api) as client:
        if server.make_pool(client, args.pool):
            running.pool = args.pool
        if training_pool and server.make_pool(client, training_pool):
            running.training_pools.append(training_pool)
        wait_for_worker = _worker(state, running, args.pool, environment, client)
        lines = _renamed(client, running, preset, channel)
        _deploy(state, _deployments(args, preset, channel, training_pool), environment)
        running.channels[channel] = str(preset)
        server.make_automations(client, packaged.FOLDER / "automations.yaml", args.notify)
        processes.save(state, running)
        wait_for_worker()
    lines += _next_steps(api, channel, training_pool, args)
    return Result("\n".join(lines), {"api": api, "channel": channel})


def _problems(args: Namespace) -> list[str]:
    from prefect.client.schemas.schedules import CronSchedule

    problems = []
    try:
        ZoneInfo(args.timezone)
    except (ValueError, OSError, KeyError):
        similar = [zone for zone in sorted(available_timezones()) if args.timezone.lower() in zone.lower()]
        near = registry.nearest(args.timezone, similar) if similar else "; write it as Europe/Berlin"
        problems.append(f"--timezone: there is no time zone {args.timezone!r}{near}")
    try:
        CronSchedule(cron=args.cron)
    except ValueError:
        problems.append(
            f"--cron {args.cron!r} is not a cron line; write minute hour day month weekday, e.g. '0 3 * * *'"
        )
    if args.notify and not args.notify.startswith(("http://", "https://")):
        problems.append(f"--notify {args.notify!r}: write it as https://...")
    return problems


def _environment(state: Path) -> dict[str, str]:
    """The environment of our processes: no telemetry, and a database of their own unless another server is used."""
    environment = {**os.environ, "PROJECT_DIR": os.getcwd(), "PYTHONUNBUFFERED": "1"}
    if not server.chosen():
        environment["PREFECT_HOME"] = str(state)
    return environment


def _deployments(args: Namespace, preset: Path, channel: str, training_pool: str | None) -> dict[str, Any]:
    """prefect.yaml for another preset, channel, home, pools and schedule."""
    file: dict[str, Any] = yaml.safe_load((packaged.FOLDER / "prefect.yaml").read_text(encoding="utf-8"))
    [[step]] = [step.values() for step in file["build"]]
    step["name"] = str(preset)
    trained = [one for one in file["deployments"] if one["name"].startswith(TRAINING)]
    if training_pool is None:
        file["deployments"] = [one for one in file["deployments"] if one not in trained]
    for deployment in file["deployments"]:
        deployment["name"] = deployment["name"].replace(TEMPLATE, channel)
        deployment["tags"] = [tag.replace(TEMPLATE, channel) for tag in deployment["tags"]]
        elsewhere = deployment in trained
        deployment["parameters"] |= {} if elsewhere else {"home": str(args.home)}
        deployment["work_pool"] = deployment["work_pool"] | {"name": training_pool if elsewhere else args.pool}
        for schedule in deployment.get("schedules", []):
            schedule |= {"cron": args.cron, "timezone": args.timezone}
    return file


def _deploy(state: Path, file: Mapping[str, Any], environment: Mapping[str, str]) -> None:
    """Pass the deployments to Prefect's own command, without prompts."""
    written = state / "prefect.yaml"
    written.write_text(yaml.safe_dump(dict(file), sort_keys=False, allow_unicode=True), encoding="utf-8")
    process = subprocess.run(
        [sys.executable, "-m", "prefect", "--no-prompt", "deploy", "--all", "--prefect-file", str(written)],
        env=dict(environment),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    log = state / "deploy.log"
    log.write_text(process.stdout, encoding="utf-8")
    if process.returncode:
        last = process.stdout.strip().splitlines()[-1:]
        raise server.NotDeployed(f"Prefect did not accept the deployments ({''.join(last)}); see {log}")


def _renamed(client: Any, running: processes.Running, preset: Path, channel: str) -> list[str]:
    """Remove the deployments of the same preset under another name, and their schedules; a line for each."""
    lines = []
    for old in [name for name, file in running.channels.items() if file == str(preset) and name != channel]:
        server.remove_deployments(client, old)
        del running.channels[old]
        lines.append(
            f"{preset.name} is now {channel!r} instead of {old!r}: the deployments of {old!r} are removed. To keep its "
            f"talks and models, rename data/{old} and models/{old}; else all of it is fetched and paid for again."
        )
    return lines


def _worker(
    state: Path, running: processes.Running, pool: str, environment: Mapping[str, str], client: Any
) -> Callable[[], None]:
    """Start the worker unless it runs; the returned function waits until the server knows it."""
    if processes.alive(running.worker):
        return lambda: None
    name = f"understudy-{socket.gethostname()}"
    command = [sys.executable, "-m", "prefect", "worker", "start", "--pool", pool, "--name", name]
    running.worker = processes.start(command, state / "worker.log", environment)
    processes.save(state, running)

    def wait() -> None:
        end = time.monotonic() + WORKER_SECONDS
        while not server.has_worker(client, pool, name):
            if not processes.alive(running.worker) or time.monotonic() > end:
                raise server.NotDeployed(f"the worker did not start; see {state / 'worker.log'}")
            time.sleep(0.3)

    return wait


def _next_steps(api: str, channel: str, training_pool: str | None, args: Namespace) -> list[str]:
    worker = f"PREFECT_API_URL={api} prefect worker start --pool {training_pool} --type process"
    there = [f"Trainings wait for a worker on the machine that is to do them: {worker}"] if training_pool else []
    return [
        f"Runs, schedules and reports: {api.removesuffix('/api')}",
        f"New talks of {channel} are looked for at {args.cron!r}, {args.timezone}. Now: prefect deployment run "
        f"sync-channel/sync-channel-{channel}, with PREFECT_API_URL={api}",
        *there,
        f"To stop and remove all of it: understudy undeploy --home {args.home}",
    ]
