"""Which files of a run are refused, and why; `publish`, `serve` and `chat` look here before they use one."""

from pathlib import Path

from pydantic import ValidationError

from understudy.errors import AssetError
from understudy.records import ParityReport

FILE = "parity.json"


def report(run_folder: Path) -> ParityReport | None:
    """The parity report of the run in `run_folder`; None when there is none. Raises AssetError."""
    file = run_folder / FILE
    try:
        return ParityReport.model_validate_json(file.read_bytes())
    except FileNotFoundError:
        return None
    except (OSError, ValidationError) as error:
        why = str(error).splitlines()[0]
        raise AssetError(f"{file} cannot be read ({why}); delete it and run again with --only score") from None


def refused(run_folder: Path) -> dict[str, str]:
    """Type of each refused file > the reason; 'fused' and 'adapter' may be among them. Raises AssetError."""
    parity = report(run_folder)
    return {check.name: check.refused for check in parity.checks if check.refused} if parity else {}
