"""The teachers of this process: one per channel and role for all the work of a run, so that they share a budget."""

import threading
from typing import Literal

from understudy.calls.model_teacher import ModelTeacher
from understudy.interfaces import Teacher
from understudy.sections import PluginSpec
from understudy.workspace import Workspace

Role = Literal["teacher", "verify"]
_teachers: dict[tuple[Role, str], Teacher] = {}
_starting = threading.Lock()


def shared(workspace: Workspace, role: Role, spec: PluginSpec | None = None) -> Teacher:
    """The teacher or verifier of a channel, started on first use; `spec` if it is not the preset's own."""
    key = (role, workspace.model_dump_json())
    with _starting:
        if key not in _teachers:
            spec = spec or (workspace.config.teacher if role == "teacher" else workspace.config.verify)
            teacher: Teacher = workspace.config.plugin("teacher", spec)
            teacher.begin(workspace.folder if role == "teacher" else workspace.verifier_folder)
            _teachers[key] = teacher
        return _teachers[key]


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
