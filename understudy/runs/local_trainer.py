"""
`trainer: auto`: the trainer that fits this machine, chosen once for a channel and noted in it.

A later run takes the same one, also on another machine: two trainers never share a channel unasked. Nothing is timed.
"""

import json
import logging

from understudy.channel import home
from understudy.sections import PluginSpec
from understudy.trainers import machine
from understudy.workspace import Workspace

AUTO = "auto"
NOTE = "trainer/auto"
log = logging.getLogger("understudy.train")


def resolved(workspace: Workspace) -> Workspace:
    """The workspace with a trainer in place of `auto`: the noted one, else the one that fits this machine."""
    spec = workspace.config.trainer
    if spec.use != AUTO:
        return workspace
    noted = workspace.ledger.note(NOTE)
    name = json.loads(noted)["trainer"] if noted else _choice(workspace).trainer
    trainer = PluginSpec.model_validate(spec.options | {"use": name})
    return workspace.model_copy(update={"config": workspace.config.model_copy(update={"trainer": trainer})})


def chosen(workspace: Workspace) -> Workspace:
    """As `resolved`, at the start of a run: the choice is noted with its reason, and the log says both."""
    if workspace.config.trainer.use != AUTO:
        return workspace
    noted = workspace.ledger.note(NOTE)
    if noted is None:
        home.mark(workspace.home)
        noted = json.dumps(_choice(workspace)._asdict())
        workspace.ledger.set_note(NOTE, noted)
        log.info("trainer: %(trainer)s, as %(reason)s; --set trainer.use=NAME takes another", json.loads(noted))
    else:
        log.info("trainer: %(trainer)s, as this channel began with it (%(reason)s)", json.loads(noted))
    return resolved(workspace)


def _choice(workspace: Workspace) -> machine.Choice:
    if workspace.config.machine.pool:
        return machine.Choice("peft_lora", "another machine trains, and PyTorch is at home on most")
    return machine.choose()
