"""What is known of one talk: the talk, its questions, its answers, and the verdicts on them."""

import operator

from pydantic import Field

from understudy.records.base import Difficulty, Record
from understudy.text.words import word_count


class Entry(Record):
    """What a source lists before anything is fetched."""

    document_id: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,119}$", description="also the folder's name")
    title: str
    locator: str = Field(description="what the source needs to fetch it: a file name in the folder, a video id")
    revision: str = Field(description="changes when the content at the locator does")
    published: str | None = Field(default=None, description="YYYY-MM-DD")
    duration_seconds: float | None = Field(default=None, ge=0, description="where the listing says it")


class Paragraph(Record):
    """About 110 words of speech, and when they start."""

    start_seconds: float | None = Field(default=None, ge=0, description="None where the source has no times")
    pause_seconds: float | None = Field(default=None, ge=0, description="silence before it, as far as captions tell")
    text: str = Field(min_length=1)
    speaker: str | None = Field(default=None, description="who says it, where the source names speakers")


class Heading(Record):
    """A heading inside a document, whose words are also part of the text."""

    level: int = Field(ge=1, description="1 is the outermost")
    text: str
    paragraph: int = Field(ge=0, description="index of the paragraph in which it stands")
    start: int = Field(ge=0, description="character of that paragraph's text at which it begins")


class SectionPlace(Record):
    """Where a section stands in the manual that it is cut from, and what is shown with it."""

    manual_id: str
    manual: str = Field(description="title of the manual")
    heading: list[str] = Field(default=[], description="headings over it, the outermost first")
    before: str = Field(default="", description="the end of the section before it; context for the teacher")
    after: str = Field(default="", description="the beginning of the section after it; context for the teacher")


class ManualSection(Record):
    """A section of a manual, as it was cut: a row of sections.jsonl. A cut stays while its text does."""

    section_id: str
    source: str = Field(default="", description="key of the source; '' for the first")
    revision: str = Field(description="of the manual that it was last found in")
    reading: str = Field(description="digest of how the manual was cut")
    title: str
    place: SectionPlace
    how: str = Field(description="which reader gave the words")
    language: str | None = None
    published: str | None = None
    text: str = Field(min_length=1, description="a blank line between paragraphs")


class Document(Record):
    """One talk or file, whole; or a section of a manual. Written by `collect`."""

    document_id: str
    title: str
    locator: str
    how: str = Field(description="which reader or service gave the words")
    language: str | None = None
    published: str | None = None
    duration_seconds: float | None = Field(default=None, ge=0)
    noise_tags: int = Field(default=0, ge=0, description="[Music], [Laughter] and the like that were dropped")
    speaker_changes: int = Field(default=0, ge=0, description="many mean that it is not one person's talk")
    speaker: str | None = Field(default=None, description="whose talk it is; what others say in it is context")
    captions: int | None = Field(default=None, ge=0, description="captions it was read from; None for other formats")
    left_out: dict[str, int] = Field(default={}, description="lines that are not in the text, by reason")
    lost_share: float = Field(default=0, ge=0, le=1, description="of the different words, those that are lost")
    paragraphs: list[Paragraph] = Field(min_length=1)
    headings: list[Heading] = Field(default=[], exclude_if=operator.not_, description="in the order of the text")
    section: SectionPlace | None = Field(
        default=None, exclude_if=operator.not_, description="of which manual it is a section; None: it is whole"
    )

    @property
    def text(self) -> str:
        """All words, a blank line between paragraphs."""
        return "\n\n".join(paragraph.text for paragraph in self.paragraphs)

    @property
    def several_speakers(self) -> bool:
        """True when the captions mark another speaker more than once a minute: the manner is not one person's."""
        if self.speaker:
            return False
        minutes = (self.duration_seconds or self.words / 2.5) / 60
        return self.speaker_changes > max(5.0, minutes)

    @property
    def others_share(self) -> float:
        """The share of the words that others say, where it is the talk of one `speaker`."""
        theirs = sum(word_count(p.text) for p in self.paragraphs if p.speaker != self.speaker)
        return theirs / max(1, self.words) if self.speaker else 0.0

    @property
    def words(self) -> int:
        """Words of the whole talk, as `word_count` counts them in its script."""
        return sum(word_count(paragraph.text) for paragraph in self.paragraphs)


class Question(Record):
    """One standalone question a talk answers."""

    question_number: int = Field(ge=1)
    question: str = Field(min_length=1)
    tags: list[str] = []
    first_paragraph: int | None = Field(default=None, ge=0, description="index of the first paragraph that answers it")
    last_paragraph: int | None = Field(default=None, ge=0, description="index of the last one, inclusive")
    part: int | None = Field(default=None, ge=1, description="of a talk over the teacher's window; None: it was whole")
    type: str | None = Field(default=None, exclude_if=operator.not_, description="e.g. recall, where types are wanted")
    difficulty: Difficulty | None = Field(default=None, exclude_if=operator.not_)


class Questions(Record):
    """Pass 1 over one talk. Written by `extract_questions`."""

    document_id: str
    teacher: str = Field(description="the teacher's own label, e.g. 'extractive' or 'openai/gpt-5-mini'")
    prompt_sha256: str | None = Field(default=None, description="None when the teacher reads no prompt")
    tokens: int | None = Field(default=None, description="of the talk, by the teacher's tokenizer or its estimate")
    parts: int = Field(default=1, ge=1, description="how many the talk was split into to fit the teacher's window")
    dropped: dict[str, int] = Field(default={}, description="why how many questions of the reply were not taken")
    usd: float = Field(default=0.0, ge=0, description="what pass 1 cost")
    exhausted: bool = Field(default=False, description="further questions were requested, and hardly any came")
    missing: str | None = Field(
        default=None, exclude_if=operator.not_, description="why there are fewer than the preset wants of each section"
    )
    questions: list[Question]


class Answer(Record):
    """Pass 2 for one question number: a markdown answer, or the reason why there is none."""

    question_number: int = Field(ge=1)
    answer: str | None = None
    failed: str | None = Field(default=None, description="why there is no answer; None when there is one")
    reasoning: str | None = Field(default=None, exclude_if=operator.not_, description="why the answer is right")


class Answers(Record):
    """Pass 2 over one talk: exactly one entry per question number. Written by `generate_answers`."""

    document_id: str
    teacher: str
    prompt_sha256: str | None = None
    answers: list[Answer]
    repaired: int = Field(default=0, ge=0, description="numbers that needed more than one request")
    moved: int = Field(default=0, ge=0, description="answers that stood under another question's number")
    misplaced: int = Field(
        default=0, ge=0, description="answers asked for again: they may have been another question's"
    )
    usd: float = Field(default=0.0, ge=0, description="what pass 2 cost")


class Verdict(Record):
    """Kept, or the first gate that refused the pair and why."""

    question_number: int = Field(ge=1)
    kept: bool
    gate: str | None = Field(default=None, description="name of the gate that refused it")
    reason: str | None = None


class Verdicts(Record):
    """The gates' verdicts on one talk's pairs. Written by `gate`."""

    document_id: str
    verdicts: list[Verdict]


class Verification(Record):
    """The verifier's verdict on one pair, and what follows from it."""

    question_number: int = Field(ge=1)
    approved: bool | None = Field(description="every criterion holds; None when no verdict could be had")
    evidence_quote: str = Field(default="", description="the verifier's own, as it came")
    grounded: bool | None = Field(default=None, description="False too when the quote is not in the text")
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
