"""What a training with torch is asked to do. No torch here."""

from pathlib import Path
from typing import Any, Literal

from pydantic import Field, model_validator

from understudy.trainers.lora_job import PROCESSES, Job, LoraOptions

NOT_EXPORTED = {
    "use_dora": "DoRA scales each output by a magnitude of its own, which llama.cpp's file of an adapter cannot say",
    "modules_to_save": "modules trained whole are no adapter, which is all that fuse and llama.cpp's file of one know",
    "trainable_token_indices": "new tokens are no part of an adapter that llama.cpp reads",
    "lora_bias": "biases are no part of plain LoRA, which is what the merge adds",
    "rank_pattern": "all layers have one rank here; an adapter with several is taken by trainer.use=external",
    "alpha_pattern": "all layers have one alpha here; an adapter with several is taken by trainer.use=external",
    "init_lora_weights": "PiSSA, OLoRA and LoftQ change the base as well, and the merge would count that twice",
    "full": "full tuning leaves no adapter to compare, convert and forget",
}
"""Options of PEFT that nothing after the training could use, and why."""
QUANTIZE = "trainer.base_bits: 4 and 8 are bitsandbytes' here"


class TorchOptions(LoraOptions):
    """How the adapter is shaped and trained, and where torch computes it."""

    dtype: Literal["auto", "float32", "bfloat16"] = Field(
        default="auto",
        description="of what is computed; auto: bfloat16 where processor or card multiply it themselves",
    )
    device: Literal["auto", "cuda", "mps", "cpu"] = Field(
        default="auto", description="auto: an NVIDIA card, else Apple's GPU, else the processor"
    )
    use_rslora: bool = Field(default=False, description="the adapter is multiplied by alpha / sqrt(rank) instead")

    @model_validator(mode="before")
    @classmethod
    def _can_be_exported(cls, raw: Any) -> Any:
        wanted = [name for name in NOT_EXPORTED if isinstance(raw, dict) and raw.get(name)]
        if wanted:
            raise ValueError(f"{wanted[0]} cannot be exported: {NOT_EXPORTED[wanted[0]]}; leave it out")
        return raw

    @property
    def scale(self) -> float:
        """What the adapter is multiplied with."""
        return self.alpha / (self.rank**0.5 if self.use_rslora else self.rank)


class TorchJob(Job):
    """One training with torch."""

    options: TorchOptions
    index: int = Field(default=0, description="of this process, where several share the training")

    @property
    def rendezvous(self) -> Path:
        """The file in which the processes of a training find each other."""
        return self.out / PROCESSES / "rendezvous"
