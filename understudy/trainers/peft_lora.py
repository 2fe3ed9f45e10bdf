"""
LoRA with PyTorch and PEFT, in a worker of its own: NVIDIA cards, Apple's GPU, and processors of every system.

The same options, rows, batches and files as `mlx_lora`: what comes after the training does not see which one it was.
"""

import shutil
from importlib.util import find_spec

from understudy import worker
from understudy.errors import Diverged, WorkerFailed
from understudy.interfaces import Progress
from understudy.records import AdapterCard
from understudy.trainers import machine
from understudy.trainers.lora_job import LOCAL, PROCESSES, Job, Outcome
from understudy.trainers.lora_trainer import LoraTrainer, killed_while_measuring, within_memory
from understudy.trainers.torch_job import QUANTIZE, TorchJob, TorchOptions

WORKER = "understudy.trainers.torch_lora_worker"
EXTRA = "pip install 'understudy[torch]', or: make torch"


class PeftLoraTrainer(LoraTrainer):
    """Low-rank adapters on the linear layers of a frozen base, by PEFT in transformers' loop."""

    VERSION = 1
    INDIFFERENT = {"grad_checkpoint", "hosts", "hostfile", "backend", "device"}
    Options = TorchOptions
    BACKEND = {"trainer": "peft_lora"}
    options: TorchOptions

    def problems(self) -> list[str]:
        """What torch lacks here, and options that only mlx's launcher or bitsandbytes could follow."""
        missing, versions = machine.missing(machine.TORCH), machine.torch_versions()
        problems = [
            f"trainer peft_lora needs the package {name!r}, which is not installed here: {EXTRA}" for name in missing
        ]
        if len(versions) > 1:
            problems.append(
                f"trainer peft_lora: two versions of torch are installed here ({' and '.join(versions)}), and parts of "
                "both would be loaded; run `pip uninstall torch` until none is left, then install one"
            )
        if self.options.hostfile or set(self.options.hosts or ()) - set(LOCAL):
            problems.append(
                "trainer.hosts: peft_lora shares a training among the cards of this machine; name 127.0.0.1 once for "
                "each of them. Other machines: docs/rented.md, or LLaMA-Factory and trainer.use=external"
            )
        if self.options.base_bits in (4, 8) and find_spec("bitsandbytes") is None:
            problems.append(f"{QUANTIZE}, which is not installed here; it needs an NVIDIA card: leave base_bits out")
        elif self.options.base_bits in (4, 8) and not machine.has_card():
            problems.append(f"{QUANTIZE}, which needs an NVIDIA card, and there is none here; leave base_bits out")
        return problems

    def run_worker(self, job: Job, progress: Progress) -> AdapterCard:
        """The card of the job. Raises what the worker raises."""
        log = job.out / "train.log"
        torch_job = TorchJob.model_validate(dict(job) | {"options": self.options, "hosts": self.options.hosts or []})

        def attempt(job: Job) -> Outcome:
            try:
                return worker.call(WORKER, job, Outcome, progress, log, blas=False)
            except Diverged:
                raise
            except WorkerFailed as error:
                too_much = killed_while_measuring(job.out, str(error))
                if too_much is None:
                    raise
                return Outcome(too_much=too_much)
            finally:
                shutil.rmtree(job.out / PROCESSES, ignore_errors=True)

        return within_memory(torch_job, attempt)
