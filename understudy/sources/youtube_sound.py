"""The sound of a video, by yt-dlp: the smallest file of it that there is, continued after a kill."""

from pathlib import Path
from typing import Any

from yt_dlp.utils import YoutubeDLError

from understudy.errors import Blocked, Refused, Transient
from understudy.progress import track
from understudy.readers.sound import SUFFIXES
from understudy.sources.youtube_listing import BLOCK, Client, dashed, failure, plain
from understudy.sources.youtube_tracks import Facts

SMALLEST = "worstaudio[abr>=40]/bestaudio/worst"
"""Whisper hears 16,000 samples a second: 48 kbit lose it nothing."""
UNAVAILABLE_SECONDS = 86_400.0


def download(client: Client, video_id: str, folder: Path, title: str, facts: Facts) -> Path:
    """The file of a video's sound in `folder`; also fills `facts`. Raises Refused, Blocked, Transient."""
    folder.mkdir(parents=True, exist_ok=True)
    client.params |= {
        "skip_download": False,
        "ignore_no_formats_error": False,
        "format": SMALLEST,
        "noprogress": True,
        "fixup": "never",
        "writesubtitles": False,
        "writeautomaticsub": False,
        "outtmpl": {"default": str(folder / "yt-%(id)s.%(ext)s")},
        "retries": 3,
        "js_runtimes": {"deno": {}},  # where it is installed, more files can be had
    }
    with track(f"download {title}") as progress:

        def report(state: dict[str, Any]) -> None:
            total = state.get("total_bytes") or state.get("total_bytes_estimate") or 0
            progress(state.get("downloaded_bytes", 0) // 1_000_000, int(total) // 1_000_000, "MB")

        client.add_progress_hook(report)
        try:
            with client:
                info = client.extract_info(f"https://www.youtube.com/watch?v={video_id}", download=True)
        except YoutubeDLError as error:
            raise _outcome(client, error, video_id) from None
    facts.title, facts.published = info.get("title"), dashed(info.get("upload_date"))
    return next(file for file in folder.glob(f"yt-{video_id}.*") if file.suffix in SUFFIXES)


def _outcome(client: Client, error: YoutubeDLError, video_id: str) -> Refused | Blocked | Transient:
    outcome = failure(error, video_id)
    if isinstance(outcome, Blocked | Transient):
        return outcome
    if block := next((words for words in client.messages if BLOCK.search(words)), None):
        return Blocked(f"YouTube refuses this machine for now: {block}")
    return Refused(plain(str(error)), "unavailable", UNAVAILABLE_SECONDS)
