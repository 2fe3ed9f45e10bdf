"""
`python deployments/deploy.py`: a Prefect server, a worker and the deployments of a channel on this machine.

Run again, it changes what has changed and starts what is not there; `python deployments/undeploy.py` takes it away.
"""

import argparse
import contextlib
import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo, available_timezones

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

import yaml  # noqa: E402
from understudy.deployments import processes, server  # noqa: E402

from understudy import config  # noqa: E402
from understudy.errors import ConfigError  # noqa: E402

STATE = ROOT / "data" / ".prefect"
PRESETS = ROOT / "deployments" / "presets"
TEMPLATE = "sample"
"""The channel that prefect.yaml is written for; another one's name stands in its place."""
WORKER_SECONDS = 150.0


def parser() -> argparse.ArgumentParser:
    """The options of the command line."""
    p = argparse.ArgumentParser(prog="python deployments/deploy.py", description=(__doc__ or "").strip())
    p.add_argument("--preset", default="demo", metavar="NAME|FILE", help="the channel's settings (default: demo)")
    p.add_argument("--port", type=int, default=4200, help="of the server's page, on 127.0.0.1 (default: 4200)")
    p.add_argument("--cron", default="0 3 * * *", help="when the channel is looked through (default: '0 3 * * *')")
    p.add_argument("--timezone", default="UTC", metavar="ZONE", help="of --cron, e.g. Europe/Berlin (default: UTC)")
    p.add_argument("--home", type=Path, metavar="DIR", help="where data/ and models/ live (default: here)")
    p.add_argument("--notify", metavar="URL", help="a webhook to call when a run fails")
    p.add_argument("--pool", default="understudy", help="name of the work pool (default: understudy)")
    p.add_argument("--state", type=Path, default=STATE, metavar="DIR", help=argparse.SUPPRESS)
    return p


def main(arguments: list[str] | None = None) -> int:
    """Deploy; returns the exit status."""
    asked = parser().parse_args(arguments)
    state: Path = asked.state.resolve()
    try:
        preset = _preset(asked.preset)
        wanted = _deployments(asked, preset)
        state.mkdir(parents=True, exist_ok=True)
        state.chmod(0o700)  # the database holds what was logged, and the key of its secrets
        running = processes.load(state)
        with _environment(state) as environment:
            api = server.ready(state, running, asked.port, environment)
            with server.client(api) as client:
                server.make_pool(client, asked.pool, running)
                ready = _worker(state, running, asked.pool, environment | {"PREFECT_API_URL": api}, client)
                _renamed(client, running, preset, wanted["channel"])
                _deploy(state, wanted["file"], environment | {"PREFECT_API_URL": api})
                running.channels[wanted["channel"]] = str(preset)
                server.make_automations(client, ROOT / "deployments" / "automations.yaml", asked.notify)
                processes.save(state, running)
                ready()
    except (ConfigError, server.NotDeployed) as error:
        print(error, file=sys.stderr)
        return 2
    _tell(api, wanted, asked, state)
    return 0


def _preset(name: str) -> Path:
    file = Path(name)
    if file.suffix not in (".yaml", ".yml"):
        file = PRESETS / f"{name}.yaml"
    if not file.is_file():
        known = ", ".join(sorted(f.stem for f in PRESETS.glob("*.yaml")))
        raise ConfigError([f"there is no preset {name!r} (any more); name a file, or one of {known}"])
    return file.resolve()


def _deployments(asked: argparse.Namespace, preset: Path) -> dict[str, Any]:
    """The channel, and prefect.yaml with that channel in it."""
    found = config.load(preset)
    problems = _schedule_problems(asked.cron, asked.timezone)
    if asked.home and asked.home.is_file():
        problems.append(f"--home {str(asked.home)!r} is a file, where a folder is needed")
    if asked.notify and not asked.notify.startswith(("http://", "https://")):
        problems.append(f"--notify {asked.notify!r}: write it as https://...")
    if problems:
        raise ConfigError(problems)
    file = yaml.safe_load((ROOT / "prefect.yaml").read_text(encoding="utf-8"))
    told = found.model_dump(mode="json", exclude_unset=True)
    for deployment in file["deployments"]:
        deployment["name"] = deployment["name"].replace(TEMPLATE, found.name)
        deployment["tags"] = [tag.replace(TEMPLATE, found.name) for tag in deployment["tags"]]
        deployment["parameters"] |= {"config": told} | ({"home": str(asked.home.resolve())} if asked.home else {})
        deployment["work_pool"] = deployment["work_pool"] | {"name": asked.pool}
        for schedule in deployment.get("schedules", []):
            schedule |= {"cron": asked.cron, "timezone": asked.timezone}
    del file["definitions"]
    return {"channel": found.name, "file": file}


def _schedule_problems(cron: str, timezone: str) -> list[str]:
    from prefect.client.schemas.schedules import CronSchedule

    problems = []
    try:
        ZoneInfo(timezone)
    except (ValueError, OSError, KeyError):
        alike = [zone for zone in sorted(available_timezones()) if timezone.lower() in zone.lower()]
        near = config.nearest(timezone, alike) if alike else "; write it as Europe/Berlin"
        problems.append(f"--timezone: there is no time zone {timezone!r}{near}")
    try:
        CronSchedule(cron=cron)
    except ValueError:
        problems.append(f"--cron {cron!r} is no cron line; write minute hour day month weekday, e.g. '0 3 * * *'")
    return problems


@contextlib.contextmanager
def _environment(state: Path) -> Iterator[dict[str, str]]:
    """What our processes get: no telemetry, and a home of their own unless somebody else's server is used."""
    environment = dict(os.environ) | {"DO_NOT_TRACK": "1", "PROJECT_DIR": str(ROOT), "PYTHONUNBUFFERED": "1"}
    os.chdir(ROOT)  # where Prefect looks for prefect.toml
    if not server.chosen():
        environment["PREFECT_HOME"] = str(state)
    yield environment


def _renamed(client: Any, running: processes.Running, preset: Path, channel: str) -> None:
    """Take away what was deployed from the same preset under another name: its schedule would go on."""
    for old in [name for name, file in running.channels.items() if file == str(preset) and name != channel]:
        server.remove_deployments(client, old)
        del running.channels[old]
        print(
            f"{preset.name} is {channel!r} now and was {old!r}: the deployments of {old!r} are taken away. To keep its "
            f"talks and models, rename data/{old} and models/{old}; else all of it is fetched and paid for again."
        )


def _deploy(state: Path, file: Mapping[str, Any], environment: Mapping[str, str]) -> None:
    """Hand the deployments to Prefect's own command, which asks nothing."""
    written = state / "prefect.yaml"
    written.write_text(yaml.safe_dump(dict(file), sort_keys=False, allow_unicode=True), encoding="utf-8")
    told = subprocess.run(
        [sys.executable, "-m", "prefect", "--no-prompt", "deploy", "--all", "--prefect-file", str(written)],
        env=dict(environment),
        cwd=ROOT,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
    )
    (state / "deploy.log").write_text(told.stdout + told.stderr, encoding="utf-8")
    if told.returncode:
        last = (told.stdout + told.stderr).strip().splitlines()[-1:]
        raise server.NotDeployed(f"Prefect did not take the deployments ({''.join(last)}); see {state / 'deploy.log'}")


def _worker(
    state: Path, running: processes.Running, pool: str, environment: Mapping[str, str], client: Any
) -> Callable[[], None]:
    """Start the worker unless it was started before; what comes back waits until the server has heard of it."""
    if processes.alive(running.worker):
        return lambda: None
    name = f"understudy-{socket.gethostname()}"
    command = [sys.executable, "-m", "prefect", "worker", "start", "--pool", pool, "--name", name]
    running.worker = processes.start(command, state / "worker.log", environment, ROOT)
    processes.save(state, running)

    def ready() -> None:
        until = time.monotonic() + WORKER_SECONDS
        while not server.has_worker(client, pool, name):
            if not processes.alive(running.worker) or time.monotonic() > until:
                raise server.NotDeployed(f"the worker did not start; see {state / 'worker.log'}")
            time.sleep(0.3)

    return ready


def _tell(api: str, wanted: Mapping[str, Any], asked: argparse.Namespace, state: Path) -> None:
    channel = wanted["channel"]
    if (problem := server.cannot_schedule()) and not server.chosen():
        print(problem, file=sys.stderr)
    print(f"Runs, schedules and reports: {api.removesuffix('/api')}")
    print(f"{channel} is looked through at {asked.cron!r}, {asked.timezone}. Now: prefect deployment run "
          f"sync-channel/sync-channel-{channel}, with PREFECT_API_URL={api}")  # fmt: skip
    state_flag = "" if state == STATE else f" --state {state}"
    print(f"To stop and take all of it away: {sys.executable} deployments/undeploy.py{state_flag}")


if __name__ == "__main__":
    raise SystemExit(main())
