"""The name in a preset that stands for the trainer that fits the machine: see `understudy.runs.local_trainer`."""

from typing import Any

from understudy import registry
from understudy.interfaces import Progress
from understudy.records import AdapterCard
from understudy.trainers import machine
from understudy.trainers.lora_job import Job
from understudy.trainers.lora_trainer import LoraTrainer


class AutoTrainer(LoraTrainer):
    """MLX on Apple silicon, torch on a card, else what the processor is good at; a run notes which it was."""

    VERSION = 1
    INDIFFERENT = {"grad_checkpoint", "hosts", "hostfile", "backend"}

    def problems(self) -> list[str]:
        """Those of the trainer that is taken here."""
        problems: list[str] = self._chosen().problems()
        return problems

    def run_worker(self, job: Job, progress: Progress) -> AdapterCard:
        """The card of the job, done by the trainer that is taken here."""
        card: AdapterCard = self._chosen().run_worker(job, progress)
        return card

    def _chosen(self) -> Any:
        return registry.build("trainer", machine.choose().trainer, self.options.model_dump(exclude_unset=True))
