"""
Every row, card and report this project writes to disk, in pipeline order.

    Entry -> Document -> Questions -> Answers -> Verdicts -> Pair -> SplitPlan -> ChatExample
          -> BaseCard -> AdapterCard -> FusedCard -> GgufCard -> Sample -> Scorecard

A record is frozen and rejects unknown fields: a typo fails at the writer, not three stages
later. `understudy.catalog` says which file each one lives in.
"""

import hashlib
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

Side = Literal["train", "valid", "test"]
VariantKind = Literal["paraphrase", "short", "long", "out_of_scope", "replay"]


class Record(BaseModel):
    """Base of everything on disk."""

    model_config = ConfigDict(frozen=True, extra="forbid")


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
    files: dict[str, AssetRef] = Field(description="type > GGUF file, F16 first")


class ScoreRefs(Record):
    """What `score_model` leaves behind."""

    scorecard: AssetRef
    report: AssetRef


class Entry(Record):
    """What a source lists before anything is fetched."""

    document_id: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,119}$", description="also the folder's name")
    title: str
    locator: str = Field(description="what the source needs to fetch it: a file name in the folder, a video id")
    revision: str = Field(description="changes when the content at the locator does")
    published: str | None = Field(default=None, description="YYYY-MM-DD")


class Paragraph(Record):
    """About 110 words of speech, and when they start."""

    start_seconds: float | None = Field(default=None, ge=0, description="None where the source has no times")
    pause_seconds: float | None = Field(default=None, ge=0, description="silence before it, as far as captions tell")
    text: str = Field(min_length=1)


class Document(Record):
    """One talk or file, whole. Written by `collect`."""

    document_id: str
    title: str
    locator: str
    how: str = Field(description="which reader or service gave the words")
    language: str | None = None
    published: str | None = None
    duration_seconds: float | None = Field(default=None, ge=0)
    noise_tags: int = Field(default=0, ge=0, description="[Music], [Laughter] and the like that were dropped")
    speaker_changes: int = Field(default=0, ge=0, description=">> marks; many mean that it is not one person's talk")
    paragraphs: list[Paragraph] = Field(min_length=1)

    @property
    def text(self) -> str:
        """All words, a blank line between paragraphs."""
        return "\n\n".join(paragraph.text for paragraph in self.paragraphs)

    @property
    def several_speakers(self) -> bool:
        """True when the captions mark another speaker more than once a minute: the manner is not one person's."""
        minutes = (self.duration_seconds or self.words / 2.5) / 60
        return self.speaker_changes > max(5.0, minutes)

    @property
    def words(self) -> int:
        """Words of the whole talk, split at white space."""
        return sum(len(paragraph.text.split()) for paragraph in self.paragraphs)


class Question(Record):
    """One standalone question a talk answers."""

    question_number: int = Field(ge=1)
    question: str = Field(min_length=1)
    tags: list[str] = []
    first_paragraph: int | None = Field(default=None, ge=0, description="index of the first paragraph that answers it")
    last_paragraph: int | None = Field(default=None, ge=0, description="index of the last one, inclusive")
    part: int | None = Field(default=None, ge=1, description="of a talk over the teacher's window; None: it was whole")


class Questions(Record):
    """Pass 1 over one talk. Written by `extract_questions`."""

    document_id: str
    teacher: str = Field(description="the teacher's own label, e.g. 'extractive' or 'openai/gpt-5-mini'")
    prompt_sha256: str | None = Field(default=None, description="None when the teacher reads no prompt")
    tokens: int | None = Field(default=None, description="of the talk, by the teacher's tokenizer or its estimate")
    parts: int = Field(default=1, ge=1, description="how many the talk was split into to fit the teacher's window")
    dropped: dict[str, int] = Field(default={}, description="why how many questions of the reply were not taken")
    usd: float = Field(default=0.0, ge=0, description="what pass 1 cost")
    questions: list[Question]


class Answer(Record):
    """Pass 2 for one question number: a markdown answer, or the reason why there is none."""

    question_number: int = Field(ge=1)
    answer: str | None = None
    failed: str | None = Field(default=None, description="why there is no answer; None when there is one")


class Answers(Record):
    """Pass 2 over one talk: exactly one entry per question number. Written by `generate_answers`."""

    document_id: str
    teacher: str
    prompt_sha256: str | None = None
    answers: list[Answer]
    repaired: int = Field(default=0, ge=0, description="numbers that needed more than one request")
    usd: float = Field(default=0.0, ge=0, description="what pass 2 cost")


class Verdict(Record):
    """Kept, or the first gate that refused the pair and why."""

    question_number: int = Field(ge=1)
    kept: bool
    gate: str | None = Field(default=None, description="name of the gate that refused it")
    reason: str | None = None


class Verdicts(Record):
    """What the gates said of one talk's pairs. Written by `gate`."""

    document_id: str
    verdicts: list[Verdict]


class Pair(Record):
    """One question with its answer and where it comes from: a row of pairs.parquet. Written by `gate`."""

    pair_id: str = Field(description="'<document_id>#<question_number>'")
    document_id: str
    title: str
    published: str | None
    question_number: int
    question: str
    answer: str
    tags: list[str]
    part: int | None = None
    start_seconds: float | None
    end_seconds: float | None
    document_sha256: str
    teacher: str
    prompt_sha256: str | None
    kept: bool
    gate: str | None
    reason: str | None
    verified: bool | None = Field(default=None, description="approved by the verifier; None: it did not say")


class Message(Record):
    """One turn of a chat."""

    role: Literal["system", "user", "assistant"]
    content: str


class ChatExample(Record):
    """One training row in the chat format mlx-lm reads. Written by `split`."""

    messages: list[Message]


class Leakage(Record):
    """What stands on two sides of the split. All zero, or `explained` says why."""

    rows_sharing_a_document: int = Field(ge=0, description="valid and test rows whose talk is also in train")
    near_duplicate_questions: int = Field(ge=0, description="valid and test rows with a near-duplicate on another side")
    rows_sharing_words: int = Field(
        default=0, ge=0, description="valid and test rows whose answer has 8 words in a row of an answer in train"
    )
    rows_sharing_only_stock_phrases: int = Field(
        default=0, ge=0, description="of these, rows that share nothing but phrases in 3 or more talks"
    )
    shared_words: list[str] = Field(default=[], description="up to five examples: the words, and the pairs they are in")
    explained: str | None = None


class Dropped(Record):
    """A kept pair that is on no side, because any side would leak."""

    pair_id: str
    side: Side = Field(description="where the other pairs of its talk belong")
    reason: str


class SplitPlan(Record):
    """Which pair is on which side, in file order. Written by `split`."""

    sides: dict[Side, list[str]] = Field(description="pair ids of train, valid, test, in the order of the rows")
    documents: dict[Side, list[str]]
    leakage: Leakage
    honest: bool = Field(description="False when held-out questions come from talks that are also trained on")
    dropped: list[Dropped] = Field(default=[], description="kept pairs on no side, in the order of the rows")
    notes: list[str] = Field(default=[], description="what was asked of the split and cannot be had, and why")


class Variant(Record):
    """One row more for the train side, and what it is made from. Written by `augment`."""

    variant_id: str = Field(description="'<pair_id>~paraphrase1', '<document_id>~out_of_scope1' or 'base~replay1'")
    kind: VariantKind
    parent: str | None = Field(default=None, description="the pair it is made from; None for out_of_scope and replay")
    document_id: str | None = Field(default=None, description="the talk it is made from; None for replay")
    teacher: str = Field(description="who wrote it: the teacher's label, or 'base'")
    prompt_sha256: str | None = None
    messages: list[Message]


class DescriptionCard(Record):
    """The dataset in numbers, tables and pictures. Written by `describe`."""

    pairs: int
    kept: int
    talks: int


class FormatCard(Record):
    """The dataset in the files of another program. Written by `write_format`."""

    format: str
    files: list[str]


class BaseCard(Record):
    """The start weights in a Hugging Face folder. Written by `prepare_base`."""

    name: str = Field(description="'scratch' or the repository they come from")
    architecture: str = Field(description="model_type of config.json")
    parameters: int
    quantized: bool = False
    notes: dict[str, float | int | str] = Field(default={}, description="for a scratch base: updates, losses, seconds")


class AdapterCard(Record):
    """The LoRA weights and how they came to be. Written by `train`."""

    trainable_parameters: int
    updates: int
    iterations: int
    epochs: float = Field(description="passes over train that were made")
    stopped_early: bool
    best_iteration: int
    base_valid_loss: float = Field(description="valid loss before the first update, nats per answer token")
    best_valid_loss: float
    longest_row: int = Field(description="in tokens, of the rows trained on")
    padding_share: float = Field(ge=0, lt=1, description="of the tokens that went through the model")
    tokens_per_second: float = Field(description="tokens under loss, over the time of the updates")
    overhead_share: float = Field(ge=0, description="of the time that metrics, samples and checkpoints took")
    peak_memory_bytes: int
    seconds: float
    settings: dict[str, float | int | str | bool | None] = Field(description="as asked, and what the data made of it")


class FusedCard(Record):
    """Base and adapter merged, as a Hugging Face folder. Written by `fuse`."""

    architecture: str
    parameters: int
    changed_share: float = Field(ge=0, le=1, description="share of the weights that differ from the base's")


class GgufCard(Record):
    """One GGUF file that was loaded and asked a question. Written by `convert` and `quantize`."""

    type: str = Field(description="F16, Q8_0, Q4_K_M, ...")
    tensor_types: dict[str, int] = Field(description="how many tensors of each type the file really holds")
    bits_per_weight: float
    question: str = Field(description="the held-out question it was asked")
    answer: str = Field(description="the first tokens of what it said")


class Sample(Record):
    """What one candidate did with one held-out pair. Written by `evaluate`."""

    pair_id: str
    document_id: str
    nll: float = Field(description="negative log-likelihood of the reference answer and its end token, in nats")
    tokens: int = Field(ge=1, description="tokens of that answer, end token included")
    text: str | None = Field(default=None, description="its own answer; None when it was not asked for one")
    new_tokens: int | None = None
    stopped: bool | None = Field(default=None, description="True when it ended by itself before the limit")
    seconds: float | None = None


class Interval(Record):
    """A number with its 95 % interval."""

    value: float
    low: float
    high: float
    n: int = Field(ge=0, description="answers it was taken over")


class CandidateScore(Record):
    """One column of the scorecard."""

    name: str = Field(description="base, adapter, fused, F16, Q8_0, ...")
    metrics: dict[str, Interval]
    bytes: int | None = Field(default=None, description="size on disk")
    tokens_per_second: float | None = Field(default=None, description="generated tokens over generation time")


class Scorecard(Record):
    """Base against tuned, hop by hop. Written by `evaluate`."""

    channel: str
    run: str
    test_pairs: int
    test_documents: int
    test_sha256: str = Field(description="digest of the held-out rows; only equal digests compare")
    candidates: list[CandidateScore]
    differences: dict[str, Interval] = Field(description="tuned minus base, paired over the same held-out pairs")
    verdicts: dict[str, Literal["better", "no worse", "worse", "not enough data"]]
    honest: bool = Field(description="copied from the split: False when the test talks were also trained on")


class Verification(Record):
    """What the verifier said of one pair, and what that comes to."""

    question_number: int = Field(ge=1)
    approved: bool | None = Field(description="every criterion holds; None when no verdict could be had")
    evidence_quote: str = Field(default="", description="the verifier's own, as it came")
    grounded: bool | None = Field(default=None, description="False too when the quote is not in the talk")
    no_hallucination: bool | None = None
    complete: bool | None = None
    standalone: bool | None = None
    reason: str = Field(default="", description="the verifier's own words")
    invented_quote: bool = Field(default=False, description="its quote, or the quote it owed, is not in the talk")
    error: str | None = Field(default=None, description="why there is no verdict; None when there is one")


class Verified(Record):
    """A verifier's verdicts on one talk's pairs. Written by `verify`."""

    document_id: str
    verifier: str = Field(description="the verifier's own label")
    prompt_sha256: str | None = None
    verdicts: list[Verification] = Field(description="one per pair that was drawn, by question number")
    unverified: list[int] = Field(default=[], description="question numbers that were not drawn")
    usd: float = Field(default=0.0, ge=0, description="what it cost")


def sha256_of(data: bytes) -> str:
    """Hex digest of `data`."""
    return hashlib.sha256(data).hexdigest()
