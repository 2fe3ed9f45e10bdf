"""The rows of a channel and how they are parted."""

import operator
from typing import Literal

from pydantic import Field

from understudy.records.base import Difficulty, Record

Split = Literal["train", "valid", "test"]
VariantKind = Literal["paraphrase", "formal", "casual", "short", "long", "part", "out_of_scope", "replay"]
PairKind = Literal["plain", "grounded", "synthesis", "refusal"]


class PairSource(Record):
    """A place in a document that an answer rests on."""

    document_id: str
    title: str
    heading: list[str] = Field(default=[], description="headings over it, the outermost first")
    first_paragraph: int | None = Field(default=None, ge=0)
    last_paragraph: int | None = Field(default=None, ge=0, description="inclusive")


class Passage(Record):
    """A piece of a document, short enough to be shown with a question: a row of passages.parquet."""

    passage_id: str = Field(description="'<document_id>/<number>', from 1")
    document_id: str
    title: str = Field(description="as answers cite it; of equal titles all but the first have a number")
    heading: list[str] = []
    text: str = Field(min_length=1)
    first_paragraph: int = Field(ge=0)
    last_paragraph: int = Field(ge=0)
    sha256: str = Field(description="of the text")


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
    # What the talks of a teacher do not have is left out of the file, so that theirs is as it always was.
    kind: PairKind = Field(default="plain", exclude_if=lambda value: value == "plain")
    sources: list[PairSource] = Field(
        default=[], exclude_if=operator.not_, description="what the answer rests on; a pair over two documents has two"
    )
    passages: list[str] = Field(
        default=[], exclude_if=operator.not_, description="ids of the passages shown with the question, in order"
    )
    manual: str | None = Field(default=None, exclude_if=operator.not_, description="title of the manual it is about")
    section: str | None = Field(default=None, exclude_if=operator.not_, description="the headings of its section")
    type: str | None = Field(default=None, exclude_if=operator.not_, description="of question, e.g. recall")
    reasoning: str | None = Field(default=None, exclude_if=operator.not_, description="why the answer is right")
    difficulty: Difficulty | None = Field(default=None, exclude_if=operator.not_)
    score: float | None = Field(
        default=None, ge=0, le=1, exclude_if=lambda value: value is None, description="of the quality gate"
    )
    keywords: list[list[str]] = Field(
        default=[],
        exclude_if=operator.not_,
        description="what a right answer must mention: groups of words of which any one will do",
    )

    @property
    def documents(self) -> list[str]:
        """The ids of all documents that it is made from, its own first."""
        return list(dict.fromkeys([self.document_id, *(source.document_id for source in self.sources)]))


class Message(Record):
    """One turn of a chat."""

    role: Literal["system", "user", "assistant"]
    content: str


class ChatExample(Record):
    """One training row in the chat format mlx-lm reads. Written by `split`."""

    messages: list[Message]


class Leakage(Record):
    """What two splits have in common. All zero, or `explained` says why."""

    rows_sharing_a_document: int = Field(ge=0, description="valid and test rows whose talk is also in train")
    near_duplicate_questions: int = Field(
        ge=0, description="valid and test rows with a near-duplicate in another split"
    )
    rows_sharing_words: int = Field(
        default=0, ge=0, description="valid and test rows whose answer has 8 words in a row of an answer in train"
    )
    rows_sharing_only_stock_phrases: int = Field(
        default=0, ge=0, description="of these, rows that share nothing but phrases in 3 or more talks"
    )
    rows_sharing_a_passage: int = Field(
        default=0, ge=0, exclude_if=operator.not_, description="valid and test rows shown a passage that is in train"
    )
    shared_words: list[str] = Field(default=[], description="up to five examples: the words, and the pairs they are in")
    explained: str | None = None


class GoldSource(Record):
    """Where in a manual an answer stands."""

    manual: str
    heading: list[str] = Field(default=[], description="headings over its section, the outermost first")
    section: str = Field(description="id of the section's document")
    paragraphs: list[int] | None = Field(default=None, description="first and last of the section, counted from 0")


class GoldRow(Record):
    """A pair of the gold set in alpaca's form, with where it comes from: a row of gold.jsonl. Written by `gold`."""

    instruction: str
    input: str = Field(default="", description="empty: the answer is known by heart")
    output: str
    reasoning: str | None = None
    difficulty: Difficulty | None = None
    type: str | None = Field(default=None, description="of question, e.g. recall")
    verdict: Literal["approved", "disapproved", "not verified"] = Field(description="of the verifier")
    sources: list[GoldSource]
    contradicts: list[str] = Field(default=[], description="ids of sections that say otherwise")
    split: Split | None = Field(default=None, description="None for a pair that is in none")
    pair_id: str
    document: str = Field(description="id of its section; rows of one section belong together")


class RejectedRow(GoldRow):
    """A pair that is not in the gold set, and why: a row of rejects.jsonl."""

    gate: str = Field(description="what refused it: a gate, `verify` for the verifier, `split` for the split")
    reason: str


class Dropped(Record):
    """A kept pair that is in no split, because any split would leak."""

    pair_id: str
    split: Split = Field(description="where the other pairs of its talk belong")
    reason: str


class SplitPlan(Record):
    """Which pair is in which split, in file order. Written by `split`."""

    splits: dict[Split, list[str]] = Field(description="pair ids of train, valid, test, in the order of the rows")
    documents: dict[Split, list[str]]
    recall: list[str] = Field(
        default=[],
        exclude_if=operator.not_,
        description="pair ids in test whose section is trained on: unseen questions about it, in the order of the rows",
    )
    leakage: Leakage
    honest: bool = Field(
        description="False when held-out questions come from talks that are also trained on; those of `recall` aside"
    )
    dropped: list[Dropped] = Field(default=[], description="kept pairs in no split, in the order of the rows")
    notes: list[str] = Field(default=[], description="what the settings want of the split and cannot be had, and why")


class Variant(Record):
    """One row more for the train split, and what it is made from. Written by `augment`."""

    variant_id: str = Field(description="'<pair_id>~paraphrase1', '<document_id>~out_of_scope1' or 'base~replay1'")
    kind: VariantKind
    parent: str | None = Field(default=None, description="the pair it is made from; None for out_of_scope and replay")
    document_id: str | None = Field(default=None, description="the talk it is made from; None for replay")
    teacher: str = Field(description="who wrote it: the teacher's label, or 'base'")
    prompt_sha256: str | None = None
    question: str = Field(default="", exclude_if=operator.not_, description="where the first message is not it")
    messages: list[Message]


class CombinedSet(Record):
    """One of the datasets that another was combined of."""

    channel: str
    sha256: str = Field(description="digest of its gold set and split")
    rows: int = Field(ge=0, description="that stayed")
    left_out: int = Field(ge=0, description="near-duplicates, and rows about what another set holds out")


class Combined(Record):
    """What a dataset was combined of. Written by `combine`."""

    sets: list[CombinedSet]


class Snapshot(Record):
    """The rows of a run as they were, kept when the dataset grows."""

    digest: str = Field(description="of train, valid and test, as the run's record has it")
    files: list[str] = Field(description="where they were")


class DescriptionCard(Record):
    """The dataset in numbers, tables and pictures. Written by `describe`."""

    pairs: int
    kept: int
    talks: int


class FormatCard(Record):
    """The dataset in the files of another program. Written by `write_format`."""

    format: str
    files: list[str]
