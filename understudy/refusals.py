"""Which files of a run are not offered, and why: what `publish`, `serve` and `chat` ask before they use one."""

from pathlib import Path

from pydantic import ValidationError

from understudy.errors import AssetError
from understudy.records import HopReport

FILE = "hops.json"


def report(run_folder: Path) -> HopReport | None:
    """What the hop gates found of the run in `run_folder`; None when they did not run. Raises AssetError."""
    file = run_folder / FILE
    try:
        return HopReport.model_validate_json(file.read_bytes())
    except FileNotFoundError:
        return None
    except (OSError, ValidationError) as error:
        why = str(error).splitlines()[0]
        raise AssetError(f"{file} cannot be read ({why}); delete it and run again with --only score") from None


def refused(run_folder: Path) -> dict[str, str]:
    """Type of each refused file > the reason; 'fused' and 'adapter' may be among them. Raises AssetError."""
    found = report(run_folder)
    return {hop.name: hop.refused for hop in found.hops if hop.refused} if found else {}
