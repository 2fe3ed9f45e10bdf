"""
Publishing a model on the Hugging Face hub: only on request, private by default.

The files are chosen from a list of what a model consists of. Everything else in the folder stays:
talks, questions and answers, ledgers, logs, partial files of a killed training.
"""

import os
import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from fnmatch import fnmatch
from pathlib import Path
from typing import TYPE_CHECKING, Any

from understudy.dataset.card import MAY_BE_GIVEN_ON
from understudy.errors import ConfigError, Transient, UnderstudyError

if TYPE_CHECKING:
    from huggingface_hub import HfApi

LAYOUT: tuple[tuple[str, str, tuple[str, ...]], ...] = (
    ("", "", ("README.md", "LICENSE*", "NOTICE*", "USE_POLICY*", "scorecard.json", "report.html")),
    (
        "fused",
        "",
        (
            "model*.safetensors",
            "model.safetensors.index.json",
            "config.json",
            "generation_config.json",
            "tokenizer.json",
            "tokenizer.model",
            "tokenizer_config.json",
            "special_tokens_map.json",
            "added_tokens.json",
            "vocab.json",
            "merges.txt",
            "chat_template.jinja",
        ),
    ),
    ("gguf", "", ("*.gguf", "*.Modelfile")),
    ("adapter", "adapter", ("adapters.safetensors", "adapter_config.json")),
)
"""Folder of the run > folder of the repository, and the files that go. Programs look for a model at the top."""
OPEN = ("apache-2.0", "mit", "bsd-2-clause", "bsd-3-clause", "cc0-1.0", "cc-by-4.0", "cc-by-sa-4.0", "unlicense")
LLAMA = ("llama3", "llama3.1", "llama3.2", "llama3.3")
WITH_TERMS = (*LLAMA, "gemma")
"""Licences that allow changed models to be distributed, with the text of the licence."""
SCRATCH = "scratch"
"""No licence at all: the base was made on the spot."""
_REPOSITORY = re.compile(r"^[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*$")


@dataclass(frozen=True)
class Published:
    """The outcome of an upload."""

    address: str
    sent: list[str]
    """Files that were new or had changed."""
    removed: list[str]
    """Files of an earlier upload that are no longer part of the model."""


def token() -> str:
    """The hub's token from the environment (HF_TOKEN), or from `hf auth login`. Raises ConfigError."""
    from huggingface_hub import get_token

    if secret := get_token():
        return secret
    raise ConfigError(["no token for the hub: put one with write access into HF_TOKEN, or run `hf auth login`"])


def chosen(folder: Path, without: Collection[str] = ()) -> dict[str, Path]:
    """Path in the repository -> file, for every file of a run to upload except the names in `without`."""
    files = {}
    for inside, place, wanted in LAYOUT:
        for file in sorted((folder / inside).glob("[!.]*")):
            # A link may point outside the folder, to files that must not be published.
            if not file.is_file() or not file.resolve().is_relative_to(folder.resolve()) or file.name in without:
                continue
            if any(fnmatch(file.name, pattern) for pattern in wanted):
                files[f"{place}/{file.name}".lstrip("/")] = file
    return files


def problems(
    files: Mapping[str, Path], folder: Path, repository: str, permission: str | None, base_licence: str | None
) -> list[str]:
    """Why the model may not be published, one sentence each."""
    wrong, licence = [], (base_licence or "").lower()
    if not _REPOSITORY.match(repository):
        wrong.append(f"{repository!r} is not 'owner/name' on the hub")
    if permission not in MAY_BE_GIVEN_ON:
        wrong.append(
            f"permission is {permission!r}: only a model of owned, permitted or public_domain talks may be published; "
            "where that is so, state it in the preset and run it again, which does not train again"
        )
    if licence not in (*OPEN, *WITH_TERMS, SCRATCH):
        known = ", ".join((*OPEN, *WITH_TERMS))
        status = f"is {base_licence!r}, which is not known to allow this" if base_licence else "is not stated"
        wrong.append(
            f"the base's licence {status}: read it on the base's page, set publish.base_licence in the preset to one "
            f"of {known}, and run it again, which does not train again"
        )
    if licence in WITH_TERMS and not any(fnmatch(name, "LICENSE*") for name in files):
        wrong.append(f"{folder} holds no LICENSE*; the base's licence {licence} must go with the model: copy it there")
    if licence in LLAMA and not repository.rpartition("/")[2].lower().startswith("llama"):
        wrong.append(f"{repository!r}: the licence {licence} requires a name that begins with 'Llama'")
    for name in ("README.md", "scorecard.json"):
        if name not in files:
            wrong.append(f"{folder} holds no {name}; both are published with a model: score it first")
    if not any(name.endswith((".gguf", ".safetensors")) for name in files):
        wrong.append(f"{folder} holds no weights to publish; export the model first")
    return wrong


def publish(files: Mapping[str, Path], repository: str, private: bool = True, endpoint: str | None = None) -> Published:
    """Make `files` the model in `repository`, in one commit: either everything is uploaded, or nothing.

    Only what is new or changed is sent; an upload that broke off resumes. `endpoint` None is
    HF_ENDPOINT, else the public hub. Raises ConfigError, Transient, UnderstudyError; no message holds the token.
    """
    secret = token()
    import httpx2  # the HTTP client of huggingface_hub: its transport errors are not OSError
    from huggingface_hub import HfApi, errors

    try:
        hub = HfApi(endpoint=endpoint or os.environ.get("HF_ENDPOINT") or None, token=secret)
        return _commit(hub, files, repository, private)
    except ValueError as error:  # README.md's metadata, which the hub reads first
        raise ConfigError([f"{files['README.md']}: the hub refuses it: {_hidden(str(error), secret)}"]) from None
    except (errors.HfHubHTTPError, httpx2.TransportError, OSError, RuntimeError) as error:
        raise _failure(error, repository, secret) from None


def _failure(error: Exception, repository: str, secret: str) -> UnderstudyError:
    """The error that stopped an upload, as one of ours."""
    from huggingface_hub.errors import HfHubHTTPError

    if isinstance(error, RuntimeError) and error.__cause__:  # of one file among several
        error = error.__cause__  # type: ignore[assignment]  # a cause may be any BaseException
    again = "run the same command again later: it sends only what is missing"
    if not isinstance(error, HfHubHTTPError):
        return Transient(f"{repository}: the hub could not be reached ({_hidden(str(error), secret)}); {again}")
    status = error.response.status_code
    answer = f"{repository}: the hub answered {status}: {_hidden(error.server_message or str(error), secret)}"
    if status in (401, 403):
        return ConfigError([f"{answer}; the token needs write access there: `hf auth whoami` shows whose it is"])
    return Transient(f"{answer}; {again}") if status == 429 or status >= 500 else UnderstudyError(answer)


def _commit(hub: "HfApi", files: Mapping[str, Path], repository: str, private: bool) -> Published:
    from huggingface_hub import CommitOperationAdd, CommitOperationDelete

    address = str(hub.create_repo(repository, private=private, exist_ok=True))
    if private and hub.repo_info(repository).private is False:
        raise ConfigError([f"{repository} already exists and is public; add --public, or choose another name"])
    add = [CommitOperationAdd(place, str(file)) for place, file in files.items()]
    gone = [name for name in hub.list_repo_files(repository) if _ours(name) and name not in files]
    operations: list[Any] = [*add, *(CommitOperationDelete(name) for name in gone)]
    hub.create_commit(repository, operations, commit_message="Upload the model")
    return Published(address, [op.path_in_repo for op in add if op._remote_oid != op._local_oid], gone)


def _ours(place: str) -> bool:
    """True for a file an earlier upload may have left there, such as a shard or a file refused since."""
    folder, _, name = place.rpartition("/")
    return any(folder == there and any(fnmatch(name, p) for p in wanted) for _, there, wanted in LAYOUT)


def _hidden(text: str, token: str) -> str:
    return " ".join(text.replace(token, "***").split())
