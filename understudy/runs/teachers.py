"""The teachers of this process: one per channel and role for all the work of a run, so that they share a budget."""

import threading
from typing import Literal

from understudy.calls.ledger import CallLedger, KindTotals
from understudy.calls.model_teacher import CALLS, ModelTeacher
from understudy.interfaces import Teacher
from understudy.sections import PluginSpec
from understudy.workspace import Workspace

Role = Literal["teacher", "verify"]
OPTIONS = {"teacher": "teacher.max_usd", "verify": "verify.max_usd", "judge": "evaluate.judge.max_usd"}
_teachers: dict[tuple[Role, str], Teacher] = {}
_starting = threading.Lock()


def shared(workspace: Workspace, role: Role, spec: PluginSpec | None = None) -> Teacher:
    """The teacher or verifier of a channel, started on first use; `spec` if it is not the preset's own."""
    key = (role, workspace.model_dump_json())
    with _starting:
        if key not in _teachers:
            spec = spec or (workspace.config.teacher if role == "teacher" else workspace.config.verify)
            teacher: Teacher = workspace.config.plugin("teacher", spec)
            begin(workspace, role, teacher)
            _teachers[key] = teacher
        return _teachers[key]


def begin(workspace: Workspace, role: Role | Literal["judge"], model: Teacher) -> None:
    """Start a model in its folder of the channel, within its own budget and that of all models together."""
    folders = {
        "teacher": workspace.folder,
        "verify": workspace.verifier_folder,
        "judge": workspace.judge_folder,
    }
    model.begin(folders.pop(role))
    if isinstance(model, ModelTeacher):
        model.share_budget(OPTIONS[role], workspace.config.max_usd, folders.values())


def paid(workspace: Workspace) -> list[KindTotals]:
    """What every model that this channel asks has cost so far: teacher and variants, verifier, judge."""
    totals: list[KindTotals] = []
    for folder in (workspace.folder, workspace.verifier_folder, workspace.judge_folder):
        ledger = CallLedger(folder / CALLS)
        totals += ledger.summary()
        ledger.close()
    return totals


def shared_model(workspace: Workspace, role: Role) -> ModelTeacher:
    """The same where a language model is required: preflight has refused the others."""
    teacher = shared(workspace, role)
    assert isinstance(teacher, ModelTeacher), f"{teacher.label} is not a language model"
    return teacher


def dismiss(workspace: Workspace) -> None:
    """Let the calls of teacher and verifier finish, and close both."""
    with _starting:
        begun = [_teachers.pop((role, workspace.model_dump_json()), None) for role in ("teacher", "verify")]
    for teacher in filter(None, begun):
        teacher.close()
