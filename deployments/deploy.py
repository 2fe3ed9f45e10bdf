"""Start a Prefect server, a worker and the deployments of a channel on this machine.

Without options it starts again what is deployed, as it was: preset, schedule, time zone, home and port. A second call
applies changes and restarts what has stopped; `understudy undeploy` removes all of it.
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
from understudy.deployments import login, packaged, processes, server
from understudy.deployments.processes import Channel, Running

from understudy import config, registry
from understudy.channel import home as homes
from understudy.cli import Result
from understudy.errors import ConfigError

EXAMPLE = "understudy deploy --preset my.yaml --timezone Europe/Berlin"
TEMPLATE = "sample"
"""The channel that prefect.yaml is written for; its name is replaced by that of another one."""
CRON = "0 3 * * *"
TRAINING = "train-model-"
"""Begins the name of the deployment whose workers are other machines."""
WORKER_SECONDS = 150.0


def options(p: ArgumentParser) -> None:
    again = "as it is deployed, else"
    p.add_argument("--preset", metavar="NAME|FILE", help=f"the channel's settings (default: {again} demo)")
    p.add_argument("--port", type=int, help=f"port of the server on 127.0.0.1 (default: {again} 4200)")
    p.add_argument("--cron", help=f"when to look for new talks (default: {again} '{CRON}')")
    p.add_argument(
        "--timezone", metavar="ZONE", help=f"of --cron, e.g. Europe/Berlin (default: {again} this machine's)"
    )
    p.add_argument("--notify", metavar="URL", help="a webhook to call when a run fails or a night is silent; off: none")
    p.add_argument("--pool", help=f"name of the work pool (default: {again} understudy)")
    p.add_argument("--at-login", action="store_true", help="write a systemd user unit or a launchd agent that starts "
                   "it again after a reboot")  # fmt: skip


def default_home(args: Namespace) -> Path | None:
    """The home where this was deployed, when --home does not say. Raises ConfigError when that may be several."""
    here = Path.cwd().resolve()
    known = [home for home in homes.deployed() if (processes.folder(home) / processes.FILE).exists()]
    if getattr(args, "preset", None):
        file = str(packaged.preset(args.preset))
        known = [
            home
            for home in known
            if file in [one.preset for one in processes.load(processes.folder(home)).channels.values()]
        ]
    if here in known or not known:
        return None
    if len(known) > 1:
        raise ConfigError([f"--home: name one of those that are deployed: {', '.join(map(str, known))}"])
    return known[0]


def main(args: Namespace) -> Result:
    """Deploy. Raises ConfigError, NotDeployed."""
    packaged.configure_prefect()
    state = processes.folder(args.home)
    running = processes.load(state)
    if running.api and not running.server and args.port is None:  # somebody's own server, which a login does not name
        os.environ.setdefault("PREFECT_API_URL", running.api)
    wanted, problems = _wanted(args, running)
    if problems:
        raise ConfigError(problems)
    running.port, running.pool = args.port or running.port, args.pool or running.pool
    if args.notify:
        running.notify = None if args.notify == "off" else args.notify
    state.mkdir(parents=True, exist_ok=True)
    state.chmod(0o700)  # the database holds every log line, and the key of its secrets
    environment = _environment(state)
    processes.stop(running.watch)  # it would start again what is restarted here
    api = server.ready(state, running, environment)
    environment["PREFECT_API_URL"] = api
    with server.client(api) as client:
        if server.make_pool(client, running.pool):
            running.pool_is_ours = True
        wait_for_worker, lines = _worker(state, running, environment, client)
        for channel, how in wanted.items():
            lines += _deployed(state, running, client, environment, args.home, (channel, how))
        for channel in running.left:
            server.remove_deployments(client, channel)
        running.left = []
        server.make_automations(client, packaged.FOLDER / "automations.yaml", running.notify)
        processes.save(state, running)
        wait_for_worker()
    command = [sys.executable, "-m", "understudy.deployments.watch", str(args.home)]
    running.watch = processes.start(command, state / "watch.log", environment)
    processes.save(state, running)
    processes.note_home(args.home, deployed=True)
    lines += login.write(args.home) if args.at_login else []
    return Result("\n".join([*lines, *_next_steps(running, args)]), {"api": api, "channel": next(iter(wanted))})


def _wanted(args: Namespace, running: Running) -> tuple[dict[str, Channel], list[str]]:
    """The channels to deploy and how, and what is wrong with the request."""
    problems = _problems(args)
    gone = args.home in homes.deployed() and not (processes.folder(args.home) / processes.FILE).exists()
    if gone and not args.preset:
        raise ConfigError([f"{args.home} was deployed, and nothing of it is there now: is its disk plugged in?"])
    if not args.preset and running.channels:
        wanted = running.channels
        if len(wanted) > 1 and (args.cron or args.timezone):
            problems.append(f"--preset: several channels are deployed ({', '.join(wanted)}); name the one to change")
        problems += [f"the preset of {name}, {how.preset}, is gone; deploy it with --preset FILE, or undeploy"
                     for name, how in wanted.items() if not Path(how.preset).is_file()]  # fmt: skip
        return {name: _changed(how, args) for name, how in wanted.items()}, problems
    preset = packaged.preset(args.preset or "demo")
    channel = config.load(preset).name
    same = [how for how in running.channels.values() if how.preset == str(preset)]
    known = running.channels.get(channel) or next(iter(same), None)
    how = known or Channel(str(preset), os.getcwd(), CRON, local_zone())
    how.preset = str(preset)
    return {channel: _changed(how, args)}, problems


def _changed(how: Channel, args: Namespace) -> Channel:
    return Channel(how.preset, how.folder, args.cron or how.cron, args.timezone or how.timezone)


def local_zone() -> str:
    """The time zone of this machine, or UTC where it has no name."""
    from tzlocal import reload_localzone

    try:
        return str(reload_localzone().key)
    except (ValueError, OSError, KeyError, AttributeError):
        return "UTC"


def _problems(args: Namespace) -> list[str]:
    from prefect.client.schemas.schedules import CronSchedule

    problems = []
    try:
        ZoneInfo(args.timezone or "UTC")
    except (ValueError, OSError, KeyError):
        similar = [zone for zone in sorted(available_timezones()) if args.timezone.lower() in zone.lower()]
        near = registry.nearest(args.timezone, similar) if similar else "; write it as Europe/Berlin"
        problems.append(f"--timezone: there is no time zone {args.timezone!r}{near}")
    try:
        CronSchedule(cron=args.cron or CRON)
    except ValueError:
        problems.append(
            f"--cron {args.cron!r} is not a cron line; write minute hour day month weekday, e.g. '0 3 * * *'"
        )
    if args.notify and args.notify != "off" and not args.notify.startswith(("http://", "https://")):
        problems.append(f"--notify {args.notify!r}: write it as https://...")
    if args.port is not None and not 0 < args.port < 65536:
        problems.append(f"--port {args.port} is not a port; choose one from 1024 to 65535")
    return problems


def _environment(state: Path) -> dict[str, str]:
    """The environment of our processes: no telemetry, and a database of their own unless another server is used."""
    environment = {**os.environ, "PYTHONUNBUFFERED": "1"}
    if not server.chosen():
        environment["PREFECT_HOME"] = str(state)
    return environment


def _deployed(
    state: Path, running: Running, client: Any, environment: Mapping[str, str], home: Path, one: tuple[str, Channel]
) -> list[str]:
    """Deploy one channel, and record how; returns what there is to say about it."""
    channel, how = one
    lines = _renamed(client, running, how.preset, channel)
    training_pool = config.load(Path(how.preset)).machine.pool
    if training_pool and server.make_pool(client, training_pool):
        running.training_pools.append(training_pool)
    deployments = _deployments(channel, how, home, running.pool, training_pool)
    _deploy(state, deployments, {**environment, "PROJECT_DIR": how.folder})
    if training_pool:
        worker = f"PREFECT_API_URL={running.api} prefect worker start --pool {training_pool} --type process"
        lines.append(f"Trainings of {channel} wait for a worker on the machine that is to do them: {worker}")
    server.remove_limits(client, channel)
    running.channels[channel] = how
    running.left = [name for name in running.left if name != channel]
    return lines


def _deployments(channel: str, how: Channel, home: Path, pool: str, training_pool: str | None) -> dict[str, Any]:
    """prefect.yaml for another preset, channel, home, pools and schedule."""
    file: dict[str, Any] = yaml.safe_load((packaged.FOLDER / "prefect.yaml").read_text(encoding="utf-8"))
    [[step]] = [step.values() for step in file["build"]]
    step["name"] = how.preset
    trained = [one for one in file["deployments"] if one["name"].startswith(TRAINING)]
    if training_pool is None:
        file["deployments"] = [one for one in file["deployments"] if one not in trained]
    for deployment in file["deployments"]:
        deployment["name"] = deployment["name"].replace(TEMPLATE, channel)
        deployment["tags"] = [tag.replace(TEMPLATE, channel) for tag in deployment["tags"]]
        elsewhere = deployment in trained
        deployment["parameters"] |= {} if elsewhere else {"home": str(home)}
        deployment["work_pool"] = deployment["work_pool"] | {"name": training_pool if elsewhere else pool}
        for schedule in deployment.get("schedules", []):
            schedule |= {"cron": how.cron, "timezone": how.timezone}
    return file


def _deploy(state: Path, file: Mapping[str, Any], environment: Mapping[str, str]) -> None:
    """Pass the deployments to Prefect's own command, without prompts."""
    written = state / "prefect.yaml"
    written.write_text(yaml.safe_dump(dict(file), sort_keys=False, allow_unicode=True), encoding="utf-8")
    process = subprocess.run(
        [sys.executable, "-m", "prefect", "--no-prompt", "deploy", "--all", "--prefect-file", str(written)],
        cwd=environment["PROJECT_DIR"],
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


def _renamed(client: Any, running: Running, preset: str, channel: str) -> list[str]:
    """Remove the deployments of the same preset under another name, and their schedules; a line for each."""
    lines = []
    for old in [name for name, how in running.channels.items() if how.preset == preset and name != channel]:
        server.remove_deployments(client, old)
        del running.channels[old]
        lines.append(
            f"{Path(preset).name} is now {channel!r} instead of {old!r}: the deployments of {old!r} are removed. To "
            f"keep its talks and models, rename data/{old} and models/{old}; else all of it is fetched and paid for "
            "again."
        )
    return lines


def _worker(
    state: Path, running: Running, environment: Mapping[str, str], client: Any
) -> tuple[Callable[[], None], list[str]]:
    """Start the worker unless the right one runs; returns what waits until the server hears of it, and what to say."""
    name, lines = worker_name(), list[str]()
    wanted = processes.made_with(_of_worker(environment), pool=running.pool)
    if processes.alive(running.worker):
        assert running.worker
        if not (others := processes.differences(running.worker, wanted)):
            return lambda: None, []
        processes.stop(running.worker)
        lines = [f"The worker is replaced, since it was started with another {', another '.join(others)}."]
    before = server.heard_of_worker(client, running.pool, name)
    running.worker = start_worker(state, running.pool, environment)
    processes.save(state, running)

    def wait() -> None:
        end = time.monotonic() + WORKER_SECONDS
        while server.heard_of_worker(client, running.pool, name) in (None, before):
            if not processes.alive(running.worker) or time.monotonic() > end:
                raise server.NotDeployed(f"the worker did not start; see {state / 'worker.log'}")
            time.sleep(0.3)

    return wait, lines


def start_worker(state: Path, pool: str, environment: Mapping[str, str]) -> processes.Process:
    """Start a worker; the server hears of it some seconds later."""
    command = [sys.executable, "-m", "prefect", "worker", "start", "--pool", pool, "--name", worker_name()]
    return processes.start(command, state / "worker.log", _of_worker(environment), pool=pool)


def worker_name() -> str:
    """The name of this machine's worker on the server."""
    return f"understudy-{socket.gethostname()}"


def _of_worker(environment: Mapping[str, str]) -> dict[str, str]:
    return {key: value for key, value in environment.items() if not key.startswith("PREFECT_SERVER_")}


def _next_steps(running: Running, args: Namespace) -> list[str]:
    api = running.api
    steps = [f"Runs, schedules and reports: {api.removesuffix('/api')}"]
    steps += [
        f"New talks of {channel} are looked for at {how.cron!r}, {how.timezone}. Now: prefect deployment run "
        f"sync-channel/sync-channel-{channel}, with PREFECT_API_URL={api}"
        for channel, how in running.channels.items()
    ]
    if not args.at_login and not login.file(args.home).exists():
        steps.append("To start it again after a reboot: understudy deploy; by itself: understudy deploy --at-login")
    return [*steps, f"To stop and remove all of it: understudy undeploy --home {args.home}"]
