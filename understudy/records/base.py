"""What every record is, and the references that travel between tasks."""

import hashlib
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

Difficulty = Literal["easy", "medium", "hard"]


class Record(BaseModel):
    """Base of everything on disk."""

    # An end of an interval may be infinite: JSON has no word for it, and null would not be read back.
    model_config = ConfigDict(frozen=True, extra="forbid", ser_json_inf_nan="strings")


class AssetRef(Record):
    """A pointer to a finished asset; the only thing that travels between tasks."""

    name: str = Field(description="key in understudy.catalog.CATALOG")
    path: str = Field(description="relative to the home folder, with forward slashes")
    rows: int = Field(ge=0, description="records in the file; files in the folder")
    bytes: int = Field(ge=0)
    sha256: str = Field(description="digest of the content; of the list of files for a folder")


class Manifest(Record):
    """Written last, beside each asset: proof that it is complete, and what it was made from."""

    fingerprint: str = Field(description="digest of inputs, settings, prompt and versions")
    asset: AssetRef
    files: dict[str, int] = Field(default={}, description="for a folder: name of each file and its bytes")
    card: dict[str, Any] | None = Field(default=None, description="for a single large file: what is known of it")


class Talk(Record):
    """The three assets of one talk that is ready for the gates."""

    document: AssetRef
    questions: AssetRef
    answers: AssetRef

    @property
    def document_id(self) -> str:
        """The name of the talk's folder."""
        return self.document.path.split("/")[-2]


class DatasetRefs(Record):
    """What `build_dataset` leaves behind."""

    pairs: AssetRef
    split: AssetRef
    train: AssetRef
    valid: AssetRef
    test: AssetRef


class ModelRefs(Record):
    """What `build_model` leaves behind."""

    run: str = Field(description="folder under models/<channel>: the first digits of the adapter's fingerprint")
    base: AssetRef
    adapter: AssetRef
    fused: AssetRef
    files: dict[str, AssetRef] = Field(description="type > GGUF file, the one the others are made of first")
    adapter_file: AssetRef | None = Field(default=None, description="the adapter alone as GGUF, beside a file of base")


class ScoreRefs(Record):
    """What `score_model` leaves behind."""

    scorecard: AssetRef
    report: AssetRef
    refused: dict[str, str] = Field(default={}, description="type > why that file is not offered")
    how_to_run: list[str] = Field(default=[], description="what to type, or where the model is now, one line each")
    verdict: str = Field(default="", description="how the run ended, in a sentence for a person")


class Interval(Record):
    """A number with its 95 % interval."""

    value: float
    low: float
    high: float
    n: int = Field(ge=0, description="answers it was taken over")


def sha256_of(data: bytes) -> str:
    """Hex digest of `data`."""
    return hashlib.sha256(data).hexdigest()
