"""
The extension points. Read this page before adding a plugin.

To add one: write a class in the matching folder with a nested `Options` model and a `VERSION`,
then add its line to `understudy.registry.PLUGINS`. Nothing else changes. Raise `VERSION` when
the same input gives a different output: assets of the older version are then made again.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, Literal, NamedTuple, Protocol, runtime_checkable

from pydantic import Field

from understudy.errors import Refused
from understudy.records import (
    AdapterCard,
    BaseCard,
    ChatExample,
    Completion,
    Difficulty,
    Divergence,
    Document,
    Entry,
    FusedCard,
    ImportanceCard,
    Interval,
    Message,
    Pair,
    Passage,
    Question,
    Record,
    Sample,
    TemplateCheck,
)


class Progress(Protocol):
    """The callback by which long work reports progress. Cheap: may be called a thousand times a second."""

    def __call__(self, done: int, total: int, note: str = "") -> None:
        """`done` of `total` units are finished; `note` is one short phrase, e.g. 'loss 2.31'."""


class Source(Protocol):
    """Where talks come from: a channel, a folder."""

    complete: bool
    """True when `list_talks` gives everything there is, so that a talk no longer listed is gone."""

    polite: bool
    """True when talks are fetched one at a time on this machine, at the source's own pace."""

    notice: str | None
    """What its users must know, shown once per channel: terms, rights, labels."""

    is_known: Callable[[str], bool]
    """Whether a document id is in the ledger; set by the caller, so that a listing can end early."""

    @staticmethod
    def place(options: Any) -> str:
        """Which channel, feed or folder `options` mean: what tells two sources of one kind apart."""

    def problems(self) -> list[str]:
        """What makes this source unusable, one sentence each; touches no network."""

    def list_talks(self) -> Iterator[tuple[Entry, Refused | None]]:
        """Every talk, in a stable order, and the reason not to fetch it where the listing already shows one.

        Raises SourceError, Transient, Blocked.
        """

    def fetch(self, entry: Entry) -> Document:
        """The whole talk. Raises Refused (with the reason and when to ask again), Blocked, Transient, SourceError."""


class TeacherRequest(Record):
    """One pass over one talk. The talk is whole, or one of its parts that fit the teacher's window."""

    kind: Literal["questions", "answers"]
    document: Document
    round: int = Field(default=0, ge=0, description="number of earlier rounds of this pass without full success")
    count: int = Field(default=0, ge=0, description="questions wanted, when kind is 'questions'")
    questions: list[Question] = Field(default=[], description="the numbers to answer, when kind is 'answers'")
    others: list[str] = Field(
        default=[], description="further questions of the talk: an answer may belong to them; none is asked again"
    )


class ReplyItem(Record):
    """One numbered entry of a reply; text is the question in pass 1, the markdown answer in pass 2."""

    question_number: int
    text: str
    tags: list[str] = []
    first_paragraph: int | None = None
    last_paragraph: int | None = None
    type: str | None = None
    difficulty: Difficulty | None = None


class TeacherReply(Record):
    """The unchecked reply: numbers may be missing, duplicated or not requested. The stages check."""

    items: list[ReplyItem]
    refused: dict[int, str] = Field(default={}, description="question number > the teacher's refusal")
    moved: int = Field(default=0, ge=0, description="answers that stood under another question's number")
    misplaced: int = Field(default=0, ge=0, description="answers dropped because they may be another question's")
    problem: str | None = Field(default=None, description="why nothing of it can be used, where that is known")
    usd: float = Field(default=0.0, ge=0)

    def with_part(self, part: "TeacherReply") -> "TeacherReply":
        """This reply and the reply to further numbers as one."""
        return TeacherReply(
            items=[*self.items, *part.items],
            refused=self.refused | part.refused,
            moved=self.moved + part.moved,
            misplaced=self.misplaced + part.misplaced,
            problem=self.problem or part.problem,
            usd=self.usd + part.usd,
        )


class Teacher(Protocol):
    """The model or program that writes the questions and the answers."""

    label: str
    """Who wrote it, for the records, e.g. 'openai/gpt-5-mini'."""

    deterministic: bool
    """True when the same request always gives the same reply, so that a repetition is useless."""

    prompted: bool
    """True for a language model, which is asked with the texts of `understudy.calls.prompting`."""

    batches: bool
    """True when one pass over all talks is requested at once with `submit_batch`, because that is cheaper."""

    def problems(self) -> list[str]:
        """What makes this teacher unusable, one sentence each; makes no paid call."""

    def prompt_sha256(self, kind: str) -> str | None:
        """Digest of the prompt texts of pass 'questions' or 'answers'; None when there is no prompt."""

    def begin(self, folder: Path) -> None:
        """Store replies and their cost in `folder` (the channel's) from now on. Raises TeacherStopped."""

    def submit_batch(self, requests: Iterable[TeacherRequest], progress: Progress) -> int:
        """Have the replies to `requests` ready, where it `batches`; returns how many are. May take a day."""

    def window(self) -> int | None:
        """The most tokens of a talk that fit one call; None for no limit."""

    def tokens(self, text: str) -> int:
        """Tokens of `text`, by its own tokenizer where that is known, else estimated."""

    def reply(self, request: TeacherRequest) -> TeacherReply:
        """One reply. Called from several threads. Raises TeacherError, TeacherStopped, Transient."""

    def close(self) -> None:
        """Let calls in flight finish, store their replies, and make no more calls."""


class Gate(Protocol):
    """One quality rule. `study` sees the whole channel once, then `judge` each pair in order."""

    text_of: Callable[[str], str]
    """The words of the talk with this document id; set by the caller before `study`. Most gates need no talk."""

    def study(self, pairs: Sequence[Pair]) -> None:
        """Look at every pair of the channel that earlier gates kept."""

    def judge(self, pair: Pair) -> str | None:
        """The reason to refuse `pair`, or None to keep it."""


class Recipe(Protocol):
    """What pairs are for: how a row looks, and which gates and metrics belong to it."""

    GATES: ClassVar[tuple[str, ...]]
    METRICS: ClassVar[tuple[str, ...]]
    """Names of the gates and metrics of a preset that lists none."""

    composes: ClassVar[bool]
    """True when rows are composed of pairs and passages after the split."""

    retrieves: ClassVar[bool]
    """True when passages come with every question, in rows and in use."""

    closed_book: ClassVar[bool]
    """True when answers are to be known by heart: what they must mention is written down, and retrieval is compared."""

    UNIT: ClassVar[str]
    """What is read, asked about and held out whole, as a noun: a talk, a text, a section."""

    TOKENS: ClassVar[Mapping[str, float]]
    """Kind of call > tokens of one item of a reply, for estimates, where the recipe asks for shorter or longer ones."""

    DEFAULTS: ClassVar[Mapping[str, Mapping[str, Any]]]
    """Section of the preset > its defaults, where they are not those of other recipes."""

    options: Any

    @property
    def form(self) -> Literal["markdown", "prose"]:
        """Of the answers that are taught."""

    def settled(self) -> dict[str, Any]:
        """Options of gates and metrics that the recipe decides, by their names; only those that are not the default."""

    def system(self) -> str | None:
        """The system text of every row and every question; None: there is none."""

    def context(self, passages: Sequence[Passage]) -> str:
        """The passages as they are shown with a question; '' where there are none."""

    def prompt(self, question: str, passages: Sequence[Passage] = ()) -> list[Message]:
        """What a model is shown, before it answers `question`."""

    def prompt_values(self) -> dict[str, str]:
        """What the recipe puts into its prompts to the teacher, by the name in braces."""


@runtime_checkable
class Masking(Protocol):
    """A gate that changes pairs before they are judged."""

    def masked(self, pair: Pair) -> Pair:
        """The pair as the dataset is to have it."""


@runtime_checkable
class Scoring(Protocol):
    """A gate that gives every pair it judges a score."""

    def scored(self, pair: Pair) -> Pair:
        """The pair with its score."""


class Base(Protocol):
    """Start weights: trained on the spot, or loaded from a hub or a folder."""

    needs_talks: bool
    """True when `prepare` reads the talks, so that new talks make it stale."""

    def problems(self) -> list[str]:
        """What makes this base unusable, one sentence each; downloads nothing."""

    def sizes(self) -> Mapping[str, Any] | None:
        """config.json, as far as it is known before `prepare`; None when it is not."""

    def folder(self) -> Path | None:
        """Where the model is on this machine before `prepare`, as a folder; None when it is not."""

    def contents(self) -> str | None:
        """A digest of what the options only point to, such as a file; None where they say all. Raises ConfigError."""

    def prepare(self, talks: Iterable[str], out: Path, seed: int, progress: Progress) -> BaseCard:
        """Fill the empty folder `out` with a Hugging Face model, tokenizer and chat template."""


class Trainer(Protocol):
    """A fine-tuning backend."""

    def problems(self) -> list[str]:
        """What keeps this machine from training with these options, one sentence each."""

    def train(self, base: Path, train: Path, valid: Path, out: Path, seed: int, progress: Progress) -> AdapterCard:
        """Tune `base` on chat rows and fill folder `out` with the adapter and metrics.jsonl.

        `out` may contain the checkpoint of a killed run: resume from it where possible.
        """

    def fuse(self, base: Path, adapter: Path, out: Path, progress: Progress) -> FusedCard:
        """Merge the adapter into the base and fill the empty folder `out` (Hugging Face layout)."""


class Exporter(Protocol):
    """A file format other programs run."""

    def set_template_defaults(self, model: Path) -> bool:
        """Switch thinking off, and pin the date, in the chat template of a folder; True when that changed it."""

    def convert(self, model: Path, out: Path, type: str, progress: Progress) -> None:
        """Write the Hugging Face folder `model` as one file, its matrices as F16, BF16 or Q8_0. Raises ExportError."""

    def unwritable(self, model: Path) -> list[str]:
        """Why the model in a folder cannot be written, one sentence each, as far as it shows without its weights."""

    def rehearse(self, model: Path, progress: Progress) -> list[str]:
        """All that would keep a tuned copy of the folder from being written, or prompted as it was trained."""

    def knows(self, model: Path) -> bool:
        """Whether it can write this kind of model without another program, and so an adapter of it."""

    def adapter(self, base: Path, adapter: Path, out: Path, progress: Progress) -> None:
        """Write the LoRA weights in folder `adapter` as a file that goes with a file of `base`. Raises ExportError."""

    def quantize(self, source: Path, out: Path, type: str, importance: Path | None, progress: Progress) -> None:
        """Write `source` again with smaller weights of `type`; `importance` is a folder. Raises ExportError."""

    def importance(self, model: Path, rows: Path, out: Path, progress: Progress) -> ImportanceCard:
        """Fill folder `out` with the importance matrix of `model`, from chat rows. Raises ExportError."""

    def describe(self, file: Path, type: str) -> tuple[dict[str, int], float, list[str]]:
        """Tensors per type, bits per weight, and which tensors could not be `type`: read back. Raises ExportError."""

    def round_trip(self, model: Path, file: Path, progress: Progress) -> TemplateCheck:
        """How conversations are rendered by the folder `model` and by `file`. Raises ExportError, WorkerFailed."""


class Engine(Protocol):
    """A program that runs a model file, to score it and to generate answers."""

    def run(
        self,
        model: Path,
        adapter: Path | None,
        rows: Sequence[tuple[Pair, ChatExample]],
        answers: int,
        max_tokens: int,
        progress: Progress,
    ) -> list[Sample]:
        """Score every row; the model answers `answers` of them, of each talk in turn, greedily, up to `max_tokens`."""

    def complete(
        self,
        model: Path,
        adapter: Path | None,
        conversations: Sequence[Sequence[Message]],
        max_tokens: int,
        progress: Progress,
    ) -> list[Completion]:
        """The next message of each conversation, greedily, thinking off."""

    def likelihoods(
        self,
        model: Path,
        adapter: Path | None,
        choices: Sequence[tuple[Sequence[Message], Sequence[str]]],
        progress: Progress,
    ) -> list[list[float]]:
        """The sum of log p of each candidate answer to each conversation, without the end token."""

    def divergence(
        self, model: Path, adapter: Path, conversations: Sequence[Sequence[Message]], progress: Progress
    ) -> list[Divergence]:
        """KL(model with adapter || model) over the answer each conversation ends with."""


class Candidate(NamedTuple):
    """One form of the tuned model, and what runs it."""

    name: str
    """'adapter', 'fused', or the type of a file."""
    engine: str
    model: Path
    adapter: Path | None = None


class RowCompared(NamedTuple):
    """One held-out answer through a candidate and its reference; sums over the answer's tokens, in nats."""

    tokens: int
    reference_nll: float
    nll: float
    kl: float
    top1_agreement: int


class Compared(NamedTuple):
    """All rows of one check."""

    rows: list[RowCompared]
    exact: bool
    """False when the divergence is a lower bound, from the most probable tokens only."""


Compare = Callable[[Candidate, Candidate, Sequence[tuple[Pair, ChatExample]], Progress], Compared]
"""(reference, candidate, rows, progress). Raises ExportError, with the reason, when they cannot be compared."""


class References(NamedTuple):
    """The reference texts for the answers of a candidate. Train and held-out pairs share no talk."""

    train: Sequence[Pair] = ()
    held_out: Sequence[Pair] = ()
    talks: Mapping[str, str] = {}
    """Document id > the talk's own words, of train and held-out pairs, as far as known."""


class Metric(Protocol):
    """A number over the samples of one candidate, and its difference between two."""

    better: dict[str, Literal["lower", "higher"]]
    """The names that get a verdict; the others are shown without one."""

    def study(self, references: References) -> None:
        """Read the teacher's own answers and talks, once, before anything is measured."""

    def problems(self) -> list[str]:
        """What prevents this metric on this machine, one sentence each."""

    def measure(self, samples: Sequence[Sample], seed: int) -> dict[str, Interval]:
        """Name > value with its interval. Only samples the metric can use count; none gives {}."""

    def compare(self, tuned: Sequence[Sample], base: Sequence[Sample], seed: int) -> dict[str, Interval]:
        """Name > tuned minus base, paired by pair_id, interval by bootstrap over talks."""
