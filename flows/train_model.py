"""The one for a machine that trains for others: rows in, an adapter out, by a place that both machines reach."""

from pathlib import Path

from prefect import flow
from understudy.tasks import elsewhere
from understudy.tasks.entry import entry

from understudy.runs.elsewhere import Outcome, Request, folder, work


@flow(name="train-model", flow_run_name="{request.channel} {request.id}", persist_result=False)
@entry
def train_model(*, request: Request, home: Path | None = None) -> Outcome:
    """Train what another machine asks for, or continue where that was broken off.

    Args:
        request: Settings, the base's name, and the place of the rows; a run with machine.pool writes it.
        home: The folder of bases and unfinished trainings on the machine that trains; None: $UNDERSTUDY_HOME.
    """
    with elsewhere.bar(request) as progress:
        return work(request, home or folder(), progress)
