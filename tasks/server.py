"""Whether the Prefect server that somebody chose answers."""

import urllib.error
import urllib.request

from understudy.errors import ConfigError

ANSWER_SECONDS = 7.0


def answers(api: str) -> str | None:
    """None when a Prefect server answers at `api`, else what happened instead, within ten seconds."""
    try:
        with urllib.request.urlopen(f"{api.rstrip('/')}/health", timeout=ANSWER_SECONDS) as reply:
            return None if reply.read(10).strip() == b"true" else "something answers that is no Prefect server"
    except urllib.error.HTTPError as error:
        return None if error.code in (401, 403) else f"it answers {error.code}, so it is no Prefect server"
    except (OSError, ValueError) as error:
        return f"nothing answers there ({getattr(error, 'reason', error)})"


def check() -> None:
    """Raises ConfigError when PREFECT_API_URL, or a profile of Prefect's, names a server that does not answer."""
    from prefect.settings import PREFECT_API_URL  # what it says now; the rest of this file is for those without Prefect

    api = PREFECT_API_URL.value()
    if api and (problem := answers(api)):
        raise ConfigError(
            [
                f"PREFECT_API_URL is {api!r}, and {problem}; start that server (make ui), or unset PREFECT_API_URL "
                "and the profile that sets it: a run needs no server"
            ]
        )
