"""What starts a deployment again when its user logs in: a systemd user unit, or a launchd agent on macOS."""

import hashlib
import os
import plistlib
import sys
from pathlib import Path

from understudy.deployments import processes

from understudy.text.words import slug

UNIT = """[Unit]
Description=Understudy: the schedule of {home}

[Service]
Type=oneshot
RemainAfterExit=yes
TimeoutStartSec=900
ExecStart={command}

[Install]
WantedBy=default.target
"""


def file(home: Path) -> Path:
    """Where the unit or agent of a home is, or would be."""
    if sys.platform == "darwin":
        return Path.home() / "Library" / "LaunchAgents" / f"{_name(home)}.plist"
    configuration = Path(os.environ.get("XDG_CONFIG_HOME") or Path.home() / ".config")
    return configuration / "systemd" / "user" / f"{_name(home)}.service"


def write(home: Path) -> list[str]:
    """Write it; returns what the user types to switch it on."""
    target, command = file(home), [sys.executable, "-m", "understudy", "deploy", "--home", str(home)]
    target.parent.mkdir(parents=True, exist_ok=True)
    if sys.platform == "darwin":
        log = str(processes.folder(home) / "login.log")
        agent = {"Label": _name(home), "ProgramArguments": command, "RunAtLoad": True, "AbandonProcessGroup": True,
                 "StandardOutPath": log, "StandardErrorPath": log}  # fmt: skip
        target.write_bytes(plistlib.dumps(agent))
        return [f"Written: {target}", f"To start it at every login: launchctl load -w {target}"]
    quoted = " ".join(f'"{_escaped(word)}"' for word in command)
    target.write_text(UNIT.format(home=_escaped(str(home)), command=quoted), encoding="utf-8")
    return [
        f"Written: {target}",
        f"To start it at every login: systemctl --user enable {target.name}",
        "To start it at boot, before anybody logs in, also: loginctl enable-linger",
    ]


def remove(home: Path) -> list[str]:
    """Delete it, if it was written; returns what there is to say."""
    target = file(home)
    if not target.exists():
        return []
    target.unlink()
    off = f"launchctl remove {_name(home)}" if sys.platform == "darwin" else "systemctl --user daemon-reload"
    return [f"It no longer starts at login ({target} is deleted; to let the system know: {off})."]


def _name(home: Path) -> str:
    return f"understudy-{slug(home.name) or 'home'}-{hashlib.sha256(str(home).encode()).hexdigest()[:6]}"


def _escaped(word: str) -> str:
    return word.replace("\\", "\\\\").replace('"', '\\"').replace("%", "%%").replace("$", "$$")
