"""
LoRA with mlx-lm, in a worker of its own: Apple silicon, or a CPU on Linux for small models.

The loss is over the target tokens only: the answer and its end token. The best weights on the valid set are saved, a
killed run resumes from its checkpoint, and what was really trained is read back and compared with the options.
"""

import shutil
from importlib.util import find_spec
from shutil import which

from understudy import worker
from understudy.errors import ConfigError, Diverged, WorkerFailed
from understudy.interfaces import Progress
from understudy.records import AdapterCard
from understudy.trainers import mlx_launch
from understudy.trainers.lora_job import PROCESSES, Job, Outcome
from understudy.trainers.lora_trainer import LoraTrainer, killed_while_measuring, read_back, within_memory

__all__ = ["WORKER", "MlxLoraTrainer", "read_back"]
WORKER = "understudy.trainers.mlx_lora_worker"


class MlxLoraTrainer(LoraTrainer):
    """Low-rank adapters on the linear layers of a frozen base, trained by mlx-lm's loop."""

    VERSION = 4
    INDIFFERENT = {"grad_checkpoint", "hosts", "hostfile", "backend"}

    def problems(self) -> list[str]:
        """Missing packages, and hosts that cannot be reached that way."""
        missing = [name for name in ("mlx", "mlx_lm") if find_spec(name) is None]
        return self._host_problems() + [
            f"trainer mlx_lora needs the package {name!r}, which is not installed here; run `make setup` "
            "(mlx exists for Apple silicon and for Linux), or take --set trainer.use=peft_lora"
            for name in missing
        ]

    def _host_problems(self) -> list[str]:
        options = self.options
        if options.hosts and options.hostfile:
            return ["trainer.hosts and trainer.hostfile are both set; keep one of them"]
        try:
            group = mlx_launch.hosts(options)
        except ConfigError as error:
            return error.problems
        if group is None:
            return []
        if options.backend == "mpi" and which("mpirun") is None:
            return ["trainer.backend: mpi needs the program mpirun, which is not here; install Open MPI, or take ring"]
        names = [name for name in options.hosts or [] if not mlx_launch.is_address(name)]
        if options.backend == "ring" and names:
            return [
                f"trainer.hosts: {names[0]!r} is not an address, and the ring needs addresses; "
                "give addresses, or a hostfile with names and addresses"
            ]
        return []

    def run_worker(self, job: Job, progress: Progress) -> AdapterCard:
        """The card of the job, done by one process or by one on each host. Raises what the worker raises."""
        group, log = mlx_launch.hosts(self.options), job.out / "train.log"
        module = mlx_launch.__name__ if group else WORKER

        def attempt(job: Job) -> Outcome:
            if group:
                launch = mlx_launch.arguments(group, job.options.backend)
                job = job.model_copy(update={"hosts": group.names, "launch": launch})
            try:
                return worker.call(module, job, Outcome, progress, log)
            except Diverged:
                raise
            except WorkerFailed as error:
                too_much = None if group else killed_while_measuring(job.out, str(error))
                if too_much is None:
                    raise (mlx_launch.explain(error, log, group) if group else error) from None
                return Outcome(too_much=too_much)
            finally:
                shutil.rmtree(job.out / PROCESSES, ignore_errors=True)

        return within_memory(job, attempt)
