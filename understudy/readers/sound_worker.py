"""The process that runs Whisper. Started by `understudy.readers.sound`."""

from typing import Any

from understudy.errors import Refused, SourceError
from understudy.interfaces import Progress
from understudy.readers.sound import Heard, Job, Segment
from understudy.worker import serve

SILENT, UNSURE = 0.6, -1.0
"""From this probability of no speech on, what Whisper is unsure of was not said."""
REPETITIVE = 2.4
"""How many times smaller than itself a text packs that goes round in circles; Whisper's own limit."""
IN_A_ROW = 3


def run(job: Job, progress: Progress) -> Heard:
    """Write down one file. Raises Refused, SourceError."""
    import av
    from faster_whisper import WhisperModel

    progress(0, 1, f"loading {job.model}")
    try:
        model = WhisperModel(job.model, device="auto", compute_type="auto")
    except (ValueError, RuntimeError, OSError) as error:
        raise SourceError(f"source.transcribe.model: {job.model!r} cannot be loaded: {error}") from None
    try:
        # Each stretch by itself: a mistake is not carried on into all that follows.
        segments, info = model.transcribe(
            str(job.file), language=job.language, vad_filter=True, condition_on_previous_text=False
        )
    except (av.FFmpegError, ValueError, IndexError) as error:
        raise Refused(f"no sound can be read from it ({getattr(error, 'strerror', None) or error})") from None
    kept, left_out = list[Segment](), {"silence": 0, "repeated": 0}
    for segment in segments:
        progress(round(segment.end), max(1, round(info.duration)), "seconds of sound")
        if reason := _reason(segment, kept):
            left_out[reason] += 1
        else:
            kept.append(Segment(start=segment.start, end=segment.end, text=segment.text.strip()))
    counted = {reason: count for reason, count in left_out.items() if count}
    return Heard(segments=kept, language=info.language, seconds=info.duration, left_out=counted)


def _reason(segment: Any, kept: list[Segment]) -> str | None:
    """Why a segment was not said; None for speech."""
    text = segment.text.strip()
    if not text or (segment.no_speech_prob > SILENT and segment.avg_logprob < UNSURE):
        return "silence"
    before = [one.text for one in kept[1 - IN_A_ROW :]]
    circles = len(before) == IN_A_ROW - 1 and set(before) == {text}
    return "repeated" if circles or segment.compression_ratio > REPETITIVE else None


if __name__ == "__main__":
    serve(Job, run)
