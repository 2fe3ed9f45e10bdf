"""A measured number and the limit it is held to."""

import operator
import resource
from pathlib import Path
from typing import NamedTuple

_HOLDS = {"<=": operator.le, ">=": operator.ge, "<": operator.lt, ">": operator.gt, "=": operator.eq}


class Figure(NamedTuple):
    """`relation` and `limit` are None for a figure without a limit."""

    name: str
    value: float
    relation: str | None = None
    limit: float | None = None

    @property
    def verdict(self) -> str:
        """ok, missed or info."""
        if self.relation is None or self.limit is None:
            return "info"
        return "ok" if _HOLDS[self.relation](self.value, self.limit) else "missed"

    def line(self) -> str:
        """The figure on one line, e.g. 'demo_seconds 84.2 <= 240 ok'."""
        held = f" {self.relation} {self.limit:g}" if self.relation is not None else ""
        return f"{self.name} {self.value:.4g}{held} {self.verdict}"


def peak_mb() -> float:
    """The most memory this process ever held. Not getrusage's: that begins with what the parent held."""
    status = Path("/proc/self/status")
    if status.exists():
        return int(next(line.split()[1] for line in status.read_text().splitlines() if line.startswith("VmHWM"))) / 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024**2  # bytes on macOS
