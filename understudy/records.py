"""
Every row, card and report this project writes to disk, in pipeline order.

    Entry -> Document -> Questions -> Answers -> Verdicts -> Pair -> SplitPlan -> ChatExample
          -> BaseCard -> AdapterCard -> FusedCard -> GgufCard -> Sample -> Scorecard

A record is frozen and rejects unknown fields: a typo fails at the writer, not three stages
later. `understudy.catalog` says which file each one lives in.
"""

import hashlib
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator

Side = Literal["train", "valid", "test"]
VariantKind = Literal["paraphrase", "short", "long", "out_of_scope", "replay"]


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
    memory_plan: str = Field(default="", description="how it was made to fit the memory, in one sentence")
    predicted_memory_bytes: int | None = Field(default=None, description="most that an update would take, foretold")
    measured_memory_bytes: int | None = Field(default=None, description="what one on the longest batch took")
    memory_limit_bytes: int | None = Field(default=None, description="what training might take")
    checkpointing: bool = Field(default=False, description="activations were computed twice")
    base_bits: int | None = Field(default=None, description="the base was quantized to these; None: it stayed as it is")
    ranks: int = Field(default=1, ge=1, description="processes that shared every batch")
    seconds: float
    settings: dict[str, float | int | str | bool | None] = Field(description="as asked, and what the data made of it")


class TrialCard(Record):
    """A short training at one strength, to choose by. Written by `tune`."""

    learning_rate: float
    strength: float | None = Field(description="learning rate x scale x rank; None where the trainer has no rank")
    updates: int = Field(ge=0, description="that were made before it ended or diverged")
    base_valid_loss: float | None = None
    valid_losses: list[tuple[int, float]] = Field(default=[], description="(iteration, valid loss), in order")
    dropped: str | None = Field(default=None, description="why it cannot be chosen; None when it can")
    seconds: float = Field(ge=0)

    @property
    def valid_loss(self) -> float | None:
        """The last one."""
        return self.valid_losses[-1][1] if self.valid_losses else None


class Host(Record):
    """The machine a run was made on, without its name, its user's or a path."""

    system: str
    machine: str
    chip: str | None
    cores: int
    memory_bytes: int


class RunRecord(Record):
    """All it takes to make an adapter once more, and what came of it the first time. Written by `train`."""

    format: int = Field(default=1, description="of this file; a reader refuses a higher one than it knows")
    channel: str
    run: str
    began: str = Field(description="UTC, to the second")
    command: str
    commit: str | None = Field(description="of this project; None where it is no git checkout")
    dirty: bool | None = Field(description="whether files differed from that commit")
    python: str
    packages: dict[str, str]
    host: Host
    base: AssetRef
    base_name: str
    base_revision: str | None = None
    dataset: DatasetRefs
    dataset_fingerprint: str = Field(description="digest of the sha256 of train, valid and test")
    settings: dict[str, Any] = Field(description="the whole preset; the options of its plugins filled in")
    trainer_version: int
    seed: int
    trials: list[TrialCard] = Field(default=[], description="that chose the settings, lowest learning rate first")
    fingerprint: str = Field(description="of the adapter")
    weights_sha256: str = Field(description="of the adapter's weights, as kept")
    result: AdapterCard


class FusedCard(Record):
    """Base and adapter merged, as a Hugging Face folder. Written by `fuse`."""

    architecture: str
    parameters: int
    changed_share: float = Field(ge=0, le=1, description="share of the weights that differ from the base's")
    dequantized: bool = Field(default=False, description="the base's weights were quantized, and are not any more")
    template_settled: bool = Field(default=False, description="thinking was switched off, or the date pinned, in it")


class GgufCard(Record):
    """One GGUF file that was loaded and asked a question. Written by `convert` and `quantize`."""

    type: str = Field(description="F16, Q8_0, Q4_K_M, ...")
    tensor_types: dict[str, int] = Field(description="how many tensors of each type the file really holds")
    bits_per_weight: float
    bytes: int = Field(default=0, ge=0)
    fallbacks: list[str] = Field(default=[], description="which tensors are of another type than asked for, and why")
    template: "TemplateCheck | None" = Field(default=None, description="of the first file; the others copy its words")
    question: str = Field(description="the held-out question it was asked")
    answer: str = Field(description="the first tokens of what it said")


class TemplateCheck(Record):
    """How a file renders conversations, beside how training rendered them. Written by `convert`."""

    family: str | None = Field(description="whose TEMPLATE a Modelfile may have; None: it must have none")
    stops: list[str] = Field(description="the text of every end token in the file")
    differences: list[str] = Field(default=[], description="one sentence each; a file with any is refused")


class LoraFileCard(Record):
    """The adapter alone as a GGUF file. Written by `convert`."""

    tensors: int = Field(ge=1, description="two for each adapted matrix")
    bytes: int


class ImportanceCard(Record):
    """The mean square of what goes into each matrix, over talks of the train side. Written by `importance`."""

    rows: int = Field(ge=1, description="train rows that were read")
    tokens: int
    tensors: int


class Sample(Record):
    """What one candidate did with one held-out pair. Written by `evaluate`."""

    pair_id: str
    document_id: str
    nll: float = Field(description="negative log-likelihood of the reference answer and its end token, in nats")
    tokens: int = Field(ge=1, description="tokens of that answer, end token included")
    text: str | None = Field(default=None, description="its own answer; None when it was not asked for one")
    new_tokens: int | None = None
    stopped: bool | None = Field(default=None, description="True when it ended by itself before the limit")
    seconds: float | None = Field(default=None, description="from the question to the end; of a batch, its part")
    first_token_seconds: float | None = Field(default=None, description="wait for the first token of its batch")
    prompt_tokens: int | None = None
    prompt_seconds: float | None = Field(default=None, description="its part of the time its batch's prompts took")
    peak_memory_bytes: int | None = Field(default=None, description="weights, cache and activations while answering")
    opening_nll: float | None = Field(default=None, description="of `nll`: the first 20 tokens")
    opening_tokens: int | None = None
    body_nll: float | None = Field(default=None, description="of `nll`: what follows the opening")
    body_tokens: int | None = None
    end_nll: float | None = Field(default=None, description="of `nll`: the end token")


class Completion(Record):
    """What a model said to one conversation, greedily. Kept, so that nothing is generated twice."""

    text: str
    new_tokens: int = Field(ge=0, description="end token included")
    stopped: bool = Field(description="True when it ended by itself before the limit")
    seconds: float = Field(description="from the question to the end; of a batch, its part: parts add up to the clock")
    first_token_seconds: float = Field(description="wait for the first token of its batch")
    prompt_tokens: int
    prompt_seconds: float = Field(description="its part of the time its batch's prompts took")
    peak_memory_bytes: int = Field(description="weights, cache and activations, the most so far")


class Divergence(Record):
    """KL(tuned || base) over the answer's tokens of one conversation, exact."""

    nats: float = Field(description="summed over the answer's tokens, end token included")
    tokens: int


class Interval(Record):
    """A number with its 95 % interval."""

    value: float
    low: float
    high: float
    n: int = Field(ge=0, description="answers it was taken over")


class SuiteAnswers(Record):
    """What one model said to the suites, before anybody marks it. Written by `evaluate`."""

    said: dict[str, str] = Field(description="prompt > answer")
    log_p: dict[str, list[float]] = Field(description="question > sum of log p of each of its answers, in their order")


class Drift(Record):
    """How far tuned and base are apart over one answer. Written by `evaluate`."""

    kind: Literal["general", "domain"] = Field(description="the base's answer to a prompt, or tuned's to a question")
    name: str = Field(description="the prompt, or the talk of the question: what is drawn for an interval")
    divergence: Divergence


class Stopping(Record):
    """How a candidate's answers to the held-out questions end, and what leaks into them. Wilson intervals."""

    answers: int
    limit_tokens: int
    ended: Interval | None = Field(description="share that ended by itself with text; None when it cannot be judged")
    empty: Interval
    think_tags: Interval
    role_headers: Interval
    control_tokens: Interval


class Hop(Record):
    """One candidate against the one it was made of, over the same held-out answers."""

    name: str = Field(description="adapter, fused, or the type of a file")
    reference: str | None = Field(description="what it was made of; None for the adapter, where the way begins")
    rows: int = 0
    tokens: int = Field(default=0, description="answer tokens that were compared")
    nll_change: Interval | None = Field(default=None, description="nats per token, this minus the reference")
    kl: Interval | None = Field(default=None, description="mean KL(reference || this) per answer token, in nats")
    kl_exact: bool = Field(default=True, description="False: from the likeliest tokens, which is a lower bound")
    same_top: Interval | None = Field(default=None, description="share of tokens where both like the same one best")
    limits: dict[str, float] = Field(default={}, description="what was allowed")
    stopping: Stopping | None = None
    bytes: int
    tokens_per_second: float | None = None
    prompt_tokens_per_second: float | None = None
    first_token_seconds: float | None = Field(default=None, description="median")
    peak_memory_bytes: int | None = None
    refused: str | None = Field(default=None, description="why it is not offered; None when it is")


class HopReport(Record):
    """Whether each file is the model that was trained. Written by `hops`."""

    channel: str
    run: str
    hops: list[Hop] = Field(description="adapter, fused, then the files in the order they were made")
    recommended: str | None = Field(description="the smallest file that is not refused; None when all are")
    notes: list[str] = Field(default=[], description="what could not be judged, and why")


class CandidateScore(Record):
    """One column of the scorecard."""

    name: str = Field(description="base, adapter, fused, F16, Q8_0, ...")
    metrics: dict[str, Interval]
    bytes: int | None = Field(default=None, description="size on disk")
    tokens_per_second: float | None = Field(default=None, description="generated tokens over generation time")


Word = Literal["better", "no worse", "worse", "not enough data"]
Winner = Literal["tuned", "base", "tie"]


class Judged(Record):
    """What a judge said of one held-out question, asked twice with the two answers in both orders."""

    pair_id: str
    document_id: str
    voice: Winner | None = Field(description="whose manner is the teacher's; a tie when the orders disagree")
    answer: Winner | None = Field(default=None, description="whose answer is the better one")
    consistent: bool | None = Field(default=None, description="the same voice was chosen in both orders")
    first_slot: int = Field(default=0, ge=0, le=2, description="of the decided orders, how many chose the first answer")
    decided: int = Field(default=0, ge=0, le=2, description="orders in which a voice was chosen, ties left out")
    length_ratio: float = Field(default=1.0, gt=0, description="words of the tuned answer over those of the base's")
    contradicts: list[Winner] = Field(default=[], description="whose answer says the opposite of the reference")
    error: str | None = Field(default=None, description="why there is no verdict; None when there is one")
    usd: float = Field(default=0.0, ge=0)


class JudgeScore(Record):
    """A judge's blind comparison of tuned and base. Wins minus losses is among the scorecard's differences."""

    judge: str = Field(description="the judge's own label")
    family: str = Field(description="who made it, as far as the name tells")
    warning: str | None = Field(default=None, description="when judge and teacher are of one family")
    pairs: int
    wins: int = Field(description="the tuned model's, in voice")
    ties: int
    losses: int
    errors: int = Field(description="questions without a verdict; they count for neither side")
    difference: Interval | None = Field(description="wins minus losses, over all questions with a verdict")
    win_rate: Interval | None = Field(description="a tie is half a win; None without a verdict")
    matched: Interval | None = Field(description="wins minus losses where both answers are about equally long")
    first_slot: Interval | None = Field(description="share of decided orders that chose what stood first; 0.5 is fair")
    consistency: Interval | None = Field(description="share of the questions with one verdict in both orders")
    sign_p: float = Field(description="of wins against losses, exact, two-sided")
    contradictions: dict[Winner, int] = Field(default={}, description="answers that contradict the reference")
    agreement: Interval | None = Field(default=None, description="share of the questions on which a person agrees")
    kappa: float | None = Field(default=None, description="Cohen's, against that person")
    usd: float = Field(default=0.0, ge=0)


class Comparison(Record):
    """What a person chose between two answers, not knowing whose they are. A line of comparison.jsonl."""

    pair_id: str
    tuned: str = Field(description="whose answer stood against the base's: a candidate, or a file")
    base: str
    answers_sha256: str = Field(description="digest of both answers: a new answer is asked about again")
    first: Literal["tuned", "base"] = Field(description="whose answer stood first")
    chosen: Winner | None = Field(description="None: taken back")
    at: str = Field(description="UTC time, ISO 8601")


class Phrase(Record):
    """A phrase the teacher's answers have far more often than the base's, per 1,000 words."""

    phrase: str
    talks: int = Field(description="talks it is in")
    teacher: float
    base: float
    tuned: float


class Against(Record):
    """Another fair comparison on the same held-out pairs than adapter against base."""

    tuned: str
    base: str
    differences: dict[str, Interval]
    verdicts: dict[str, Word]


class Decision(Record):
    """What to do with a run, and why."""

    action: Literal["ship", "lower the learning rate", "train longer", "more data", "bug upstream of training"]
    where: str | None = Field(default=None, description="of a bug: data or template, fuse, template, quantization X")
    reasons: list[str] = Field(description="one sentence each, the deciding one first")


SCORECARD_VERSION = 2


class Scorecard(Record):
    """Base against tuned, hop by hop. Written by `evaluate`."""

    version: int = Field(default=1, ge=1, description="of this format; 1 had no judge, phrases, p-values or decision")
    channel: str
    run: str
    test_pairs: int
    test_documents: int
    test_sha256: str = Field(description="digest of the held-out rows; only equal digests compare")
    candidates: list[CandidateScore]
    differences: dict[str, Interval] = Field(description="tuned minus base, paired over the same held-out pairs")
    verdicts: dict[str, Word]
    honest: bool = Field(description="copied from the split: False when the test talks were also trained on")
    p_values: dict[str, float] = Field(default={}, description="exact, of the paired yes-or-no differences (McNemar)")
    against: list[Against] = Field(
        default=[], description="tuned against the base told by examples; each file against the base's at its type"
    )
    judge: JudgeScore | None = None
    phrases: list[Phrase] = []
    decision: Decision | None = None
    notes: list[str] = Field(default=[], description="what could not be measured, and why")

    @field_validator("version")
    @classmethod
    def _can_be_read(cls, version: int) -> int:
        if version > SCORECARD_VERSION:
            raise ValueError(
                f"this scorecard has format {version}, this program reads up to {SCORECARD_VERSION}: take a newer one"
            )
        return version


class TrainedOn(Record):
    """Which rows a run was trained on, without their words. Written by `promote`."""

    rows: list[str] = Field(description="digests of the rows of train, sorted")


class Challenge(Record):
    """Whether a new run takes the champion's place, and why. Written by `promote`."""

    challenger: str = Field(description="the new run")
    champion: str | None = Field(description="the run it is compared with; None: with its base, as there is no other")
    test_sha256: str = Field(description="digest of the held-out rows both were scored on")
    differences: dict[str, Interval] = Field(description="challenger minus champion, paired over the same rows")
    verdicts: dict[str, Literal["better", "no worse", "worse", "not enough data"]]
    promoted: bool
    reasons: list[str] = Field(description="one sentence each")


class Reign(Record):
    """One line of champion.jsonl: what became of a run, and when."""

    action: Literal["promoted", "refused", "rolled back", "chosen"]
    run: str = Field(description="the champion from now on; of 'refused', the run that did not become it")
    before: str | None = Field(description="the champion until now")
    at: str = Field(description="UTC time, ISO 8601")
    reasons: list[str] = []


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
