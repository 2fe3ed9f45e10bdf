"""The process that runs Whisper, over ten minutes of sound at a time. Started by `understudy.readers.sound`."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from understudy.errors import Refused, SourceError
from understudy.interfaces import Progress
from understudy.readers.sound import Job, Part, Segment, _version, written_down
from understudy.worker import serve

SILENT, UNSURE = 0.6, -1.0
"""From this probability of no speech on, what Whisper is unsure of was not said."""
REPETITIVE = 2.4
"""How many times smaller than itself a text packs that goes round in circles; Whisper's own limit."""
IN_A_ROW = 3
RATE = 16_000
PART_SECONDS = 600
EDGE_SECONDS = 2.0
"""A segment that ends so close to the end of a part may go on: the next part begins with it."""
BROKEN_FRAMES = 1000


def run(job: Job, progress: Progress) -> int:
    """Write down what of a file is not written down yet; returns the number of parts. Raises Refused, SourceError."""
    import av

    parts = list(written_down(job.written))
    at, language = (parts[-1].end, parts[-1].language) if parts else (0.0, job.language)
    progress(0, 1, f"loading {job.model}")
    model = _model(job.model)
    try:
        with _decoded(job.file) as sound, job.written.open("ab") as out:
            if parts:  # a line that a kill cut short goes
                out.truncate(sum(len(part.model_dump_json().encode()) + 1 for part in parts))
            last = False
            while not last:
                audio, last = sound.part(at)
                found, language = _transcribed(model, audio, language)
                kept, end = _whole(found, len(audio) / RATE, last)
                part = _part(kept, at, end, parts[-1].segments if parts else [], language)
                parts.append(part.model_copy(update={"last": last, "by": _version() or ""}))
                out.write(parts[-1].model_dump_json().encode() + b"\n")
                out.flush()
                os.fsync(out.fileno())
                at = parts[-1].end
                progress(round(at), max(1, round(at), round(sound.seconds)), "seconds of sound")
    except (av.FFmpegError, ValueError, IndexError) as error:
        raise Refused(f"no sound can be read from it ({getattr(error, 'strerror', None) or error})") from None
    return len(parts)


@lru_cache(maxsize=1)
def _model(name: str) -> Any:
    from faster_whisper import WhisperModel

    try:
        return WhisperModel(name, device="auto", compute_type="auto")
    except (ValueError, RuntimeError, OSError) as error:
        raise SourceError(f"source.transcribe.model: {name!r} cannot be loaded: {error}") from None


def _transcribed(model: Any, audio: NDArray[np.float32], language: str | None) -> tuple[list[Any], str | None]:
    """Whisper's segments, and the language: the one that is given, else the one it hears once somebody speaks."""
    if not len(audio):
        return [], language
    # Each stretch by itself: a mistake is not carried on into all that follows.
    segments, info = model.transcribe(audio, language=language, vad_filter=True, condition_on_previous_text=False)
    found = list(segments)
    return found, language or (info.language if found else None)


def _whole(found: list[Any], seconds: float, last: bool) -> tuple[list[Any], float]:
    """The segments that are whole, and where in the part the next one begins."""
    if last or len(found) < 2 or found[-1].end < seconds - EDGE_SECONDS:
        return found, seconds
    return found[:-1], found[-1].start


def _part(found: list[Any], at: float, seconds: float, before: list[Segment], language: str | None) -> Part:
    kept, left_out = list[Segment](), {"silence": 0, "repeated": 0}
    for segment in found:
        if reason := _reason(segment, [*before, *kept]):
            left_out[reason] += 1
        else:
            kept.append(Segment(start=at + segment.start, end=at + segment.end, text=segment.text.strip()))
    counted = {reason: count for reason, count in left_out.items() if count}
    return Part(end=at + seconds, segments=kept, left_out=counted, language=language, last=False, by="")


def _reason(segment: Any, kept: list[Segment]) -> str | None:
    """Why a segment was not said; None for speech."""
    text = segment.text.strip()
    if not text or (segment.no_speech_prob > SILENT and segment.avg_logprob < UNSURE):
        return "silence"
    before = [one.text for one in kept[1 - IN_A_ROW :]]
    circles = len(before) == IN_A_ROW - 1 and set(before) == {text}
    return "repeated" if circles or segment.compression_ratio > REPETITIVE else None


class _Sound:
    """A file as samples of one channel, RATE a second, read forwards; of twelve hours only a part is in memory."""

    def __init__(self, container: Any, seconds: float) -> None:
        self.seconds = seconds
        """How long the file says it is; 0 where it does not."""
        self._pieces = _samples(container)
        self._buffer, self._begin = np.zeros(0, dtype=np.int16), 0

    def part(self, at: float) -> tuple[NDArray[np.float32], bool]:
        """PART_SECONDS from second `at` on, and whether they are the last. `at` never goes back by a whole part."""
        start, count = round(at * RATE), PART_SECONDS * RATE
        pieces, have = [self._buffer], len(self._buffer)
        while self._begin + have <= start + count and (piece := next(self._pieces, None)) is not None:
            pieces.append(piece)
            have += len(piece)
            if self._begin + have <= start:  # not there yet
                self._begin, pieces, have = self._begin + have, [piece[:0]], 0
        samples, skipped = np.concatenate(pieces), max(0, start - self._begin)
        self._buffer, self._begin = samples[skipped:], max(start, self._begin)
        return self._buffer[:count].astype(np.float32) / np.float32(32768), len(self._buffer) <= count


@contextmanager
def _decoded(file: Path) -> Iterator[_Sound]:
    import av

    with av.open(str(file), metadata_errors="ignore") as container:
        yield _Sound(container, container.duration / av.time_base if container.duration else 0.0)


def _samples(container: Any) -> Iterator[NDArray[np.int16]]:
    """What a file sounds like, frame by frame; frames that are damaged are left out."""
    import av

    resampler = av.audio.resampler.AudioResampler(format="s16", layout="mono", rate=RATE)
    frames, broken = container.decode(audio=0), 0
    while broken < BROKEN_FRAMES:
        try:
            frame = next(frames, None)
        except av.InvalidDataError:
            broken += 1
            continue
        for piece in resampler.resample(frame):
            yield piece.to_ndarray().reshape(-1)
        if frame is None:
            return


if __name__ == "__main__":
    serve(Job, run, waits=True)
