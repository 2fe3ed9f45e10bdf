"""
A repository of the Hugging Face hub, file by file, into a folder: whole, or not at all.

The hub says which files there are, how long each is and what its digest is. A download counts as finished when every
file is as the hub says; what a broken-off one left is kept, and the next one resumes there.
"""

import hashlib
import os
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from fnmatch import fnmatch
from pathlib import Path
from typing import NamedTuple

from understudy.errors import ConfigError, Transient
from understudy.interfaces import Progress

WANTED = ("*.json", "*.safetensors", "*.jinja", "*.model", "*.tiktoken", "merges.txt", "vocab.txt")
CARD = "README.md"
WEIGHTS = ".safetensors"
EVERY_SECONDS = 0.5
PARTIAL, ALL_OF_IT = 206, 416
"""HTTP: the rest of a file; there is no more than what was named."""
MB = 1_000_000


class HubFile(NamedTuple):
    """One file as the hub lists it."""

    name: str
    bytes: int
    sha256: str | None
    """Of files in large storage."""
    git_sha1: str | None
    """Of the others, as git counts it."""


def wanted(name: str) -> bool:
    """Whether a file of a repository or folder is one that mlx-lm or transformers loads."""
    return "/" not in name and not name.startswith("consolidated") and any(fnmatch(name, one) for one in WANTED)


def download(
    repository: str, revision: str | None, out: Path, check: Callable[[], None], progress: Progress
) -> str | None:
    """Fill `out`, small files first, and return the commit. Raises ConfigError, Transient.

    `check` is called when everything but the weights is there, and may raise before gigabytes are fetched.
    """
    progress(0, 1, f"asking the hub for {repository}")
    with _clear_words(repository, revision, out):
        commit, files = _listed(repository, revision)
        counter, checked = _Counter(sum(file.bytes for file in files), progress), False
        for file in files:
            if file.name.endswith(WEIGHTS) and not checked:
                check()
                checked = True
            counter.file = file.name
            if not _is_whole(out / file.name, file):
                _fetch(repository, commit or revision, file, out, counter)
            counter.finish(file.bytes)
    for leftover in out.glob(".*.part"):
        leftover.unlink()
    return commit


class _Counter:
    """How many bytes are here, for a display, twice a second at most."""

    def __init__(self, total: int, progress: Progress) -> None:
        self.total, self.progress, self.before, self.file, self.shown = total, progress, 0, "", 0.0

    def at(self, place: int) -> None:
        """`place` bytes of the present file are here."""
        if time.monotonic() - self.shown >= EVERY_SECONDS:
            self.shown = time.monotonic()
            self.progress((self.before + place) // MB, max(1, self.total // MB), f"MB, {self.file}")

    def finish(self, size: int) -> None:
        """The present file is here."""
        self.before += size
        self.progress(self.before // MB, max(1, self.total // MB), f"MB, {self.file}")


def _fetch(repository: str, revision: str | None, file: HubFile, out: Path, counter: _Counter) -> None:
    """Download one file, from where it broke off. Raises Transient when it is not as the hub says.

    Not by `hf_hub_download`, which throws away what it has when a file breaks off.
    """
    import httpx2
    from huggingface_hub import hf_hub_url

    url = hf_hub_url(repository, file.name, revision=revision)
    part = out / f".{(file.sha256 or file.git_sha1 or 'new')[:12]}.{file.name}.part"
    while True:
        start = part.stat().st_size if part.exists() else 0
        try:
            _append(url, part, start, counter)
            break
        except httpx2.TransportError:
            if not part.exists() or part.stat().st_size <= start:  # nothing more comes
                raise
    os.replace(part, out / file.name)
    if not _is_whole(out / file.name, file):
        (out / file.name).unlink()
        raise Transient(f"base: {repository}: {file.name} did not come whole; run again, the rest is kept")


def _append(url: str, part: Path, start: int, counter: _Counter) -> None:
    """Write what comes from byte `start` on at the end of `part`."""
    from huggingface_hub.utils._headers import build_hf_headers  # documented as huggingface_hub.utils', which mypy
    from huggingface_hub.utils._http import get_session, hf_raise_for_status  # does not see: it has no __all__

    headers = {**build_hf_headers(), "Accept-Encoding": "identity"} | ({"Range": f"bytes={start}-"} if start else {})
    with get_session().stream("GET", url, headers=headers, follow_redirects=True) as response:
        if response.status_code == ALL_OF_IT and start:
            return
        hf_raise_for_status(response)
        with part.open("ab" if response.status_code == PARTIAL else "wb") as opened:
            for chunk in response.iter_bytes():
                opened.write(chunk)
                counter.at(opened.tell())


def _listed(repository: str, revision: str | None) -> tuple[str | None, list[HubFile]]:
    """The commit, and the wanted files of it: small ones first."""
    from huggingface_hub import HfApi

    info = HfApi().model_info(repository, revision=revision, files_metadata=True)
    files = [
        HubFile(one.rfilename, one.size or 0, one.lfs.sha256 if one.lfs else None, None if one.lfs else one.blob_id)
        for one in info.siblings or []
        if wanted(one.rfilename) or one.rfilename == CARD
    ]
    return info.sha, sorted(files, key=lambda file: (file.name.endswith(WEIGHTS), file.name))


def _is_whole(path: Path, file: HubFile) -> bool:
    """Whether the file on disk has the size and the digest that the hub names."""
    if not path.is_file() or path.stat().st_size != file.bytes:
        return False
    if file.sha256 is None and file.git_sha1 is None:
        return True
    with path.open("rb") as opened:
        if file.sha256 is not None:
            return hashlib.file_digest(opened, "sha256").hexdigest() == file.sha256
        return hashlib.sha1(b"blob %d\0" % file.bytes + opened.read()).hexdigest() == file.git_sha1


def _bytes_in(folder: Path) -> int:
    """Bytes of all files, those that are still coming too."""
    total = 0
    for file in folder.rglob("*"):
        try:
            total += file.stat().st_size if file.is_file() else 0
        except OSError:  # a partial file that has just got its own name
            continue
    return total


@contextmanager
def _clear_words(repository: str, revision: str | None, out: Path) -> Iterator[None]:
    """The hub's errors as ConfigError, where another preset or a login helps, or as Transient."""
    import httpx2  # the HTTP client of huggingface_hub: its transport errors are not OSError
    from huggingface_hub import errors

    try:
        yield
    except errors.GatedRepoError:
        way_out = "accept it on the model's page, then run `hf auth login`"
        raise ConfigError([f"base: {repository} is given only to those who accept its licence: {way_out}"]) from None
    except (errors.RepositoryNotFoundError, errors.RevisionNotFoundError, errors.HFValidationError):
        which = f"{repository} at revision {revision!r}" if revision else repository
        way_out = "check the spelling, or run `hf auth login`"
        raise ConfigError([f"base: the hub has no {which}, or it is private; {way_out}"]) from None
    except (httpx2.HTTPError, errors.LocalEntryNotFoundError, errors.OfflineModeIsEnabled, OSError) as error:
        raise Transient(_unreachable(repository, out, error)) from None


def _unreachable(repository: str, out: Path, error: Exception) -> str:
    here = _bytes_in(out) / MB
    kept = f"; the {here:,.0f} MB that are here are kept, and the next run resumes there" if here >= 1 else ""
    return (
        f"base: {repository} could not be downloaded, no answer from the hub ({type(error).__name__}){kept}. Run again "
        "with a connection, or give the path of a folder or .gguf file that holds the model"
    )


def missing_shards(folder: Path, names: Sequence[str]) -> list[str]:
    """Those of the files in an index that are not in the folder, or empty."""
    return [name for name in names if not (folder / name).is_file() or (folder / name).stat().st_size == 0]
