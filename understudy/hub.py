"""
Publishing a model on the Hugging Face hub: asked for each time, private unless told otherwise.

What goes is chosen from a list of what a model is made of. Whatever else lies in the folder stays:
talks, questions and answers, ledgers, logs, what a killed training left.
"""

import glob
import os
import re
from collections.abc import Collection
from fnmatch import fnmatch
from pathlib import Path

from understudy.errors import ConfigError, Transient, UnderstudyError

WANTED = (
    "README.md",
    "LICENSE*",
    "NOTICE*",
    "USE_POLICY*",
    "Modelfile",
    "*.gguf",
    "model*.safetensors",
    "model.safetensors.index.json",
    "adapters.safetensors",
    "adapter_config.json",
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
    "scorecard.json",
)
NEVER = ("data", "dataset", "documents", "calls", "checkpoints")
"""Names of folders of which nothing goes."""
MAY_BE_PUBLISHED = ("owned", "permitted")
OPEN = ("apache-2.0", "mit", "bsd-2-clause", "bsd-3-clause", "cc0-1.0", "cc-by-4.0", "cc-by-sa-4.0", "unlicense")
LLAMA = ("llama3", "llama3.1", "llama3.2", "llama3.3")
WITH_TERMS = (*LLAMA, "gemma")
"""Changed models may be passed on, with the licence's own text beside them."""
SCRATCH = "scratch"
"""No licence at all: the base was made on the spot."""
_REPOSITORY = re.compile(r"^[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*$")


def publish(
    folder: Path,
    repository: str,
    token_env: str = "HF_TOKEN",
    private: bool = True,
    endpoint: str | None = None,
    *,
    permission: str | None,
    base_licence: str | None,
    without: Collection[str] = (),
) -> str:
    """Upload the model in `folder` and return its address. Raises ConfigError, Transient, UnderstudyError.

    `permission` is the preset's; `base_licence` the base's in the hub's own words, or 'scratch'.
    `without` names files that stay, such as those a hop gate refused. The token is read from the
    environment variable `token_env` and goes to the hub only. `endpoint` None is the public hub.
    """
    files = chosen(folder, without)
    token = os.environ.get(token_env, "").strip()
    found = problems(folder, files, repository, permission, base_licence)
    if not token:
        found.append(f"the environment variable {token_env} is empty; put a token with write access there")
    if found:
        raise ConfigError(found)
    import httpx2  # what huggingface_hub speaks through: its transport errors are no OSError
    from huggingface_hub import HfApi, errors

    hub = HfApi(endpoint=endpoint, token=token)
    try:
        address = hub.create_repo(repository, private=private, exist_ok=True)
        hub.upload_folder(
            repo_id=repository,
            folder_path=folder,
            allow_patterns=[glob.escape(name) for name in files],
            commit_message="Upload the model",
        )
    except errors.HfHubHTTPError as error:
        status = error.response.status_code
        told = f"{repository}: the hub answered {status}: {_hidden(error.server_message or str(error), token)}"
        if status in (401, 403):
            raise ConfigError([f"{told}; the token in {token_env} needs write access there"]) from None
        if status == 429 or status >= 500:
            raise Transient(f"{told}; try again later") from None
        raise UnderstudyError(told) from None
    except ValueError as error:  # README.md's front matter, which the hub reads first
        raise ConfigError([f"{folder / 'README.md'}: {_hidden(str(error), token)}"]) from None
    except (httpx2.TransportError, OSError) as error:
        raise Transient(f"{repository}: the hub could not be reached ({_hidden(str(error), token)})") from None
    return str(address)


def problems(
    folder: Path, files: Collection[str], repository: str, permission: str | None, base_licence: str | None
) -> list[str]:
    """Why the model may not be published, one sentence each."""
    found, licence = [], (base_licence or "").lower()
    if not _REPOSITORY.match(repository):
        found.append(f"{repository!r} is not 'owner/name' on the hub")
    if permission not in MAY_BE_PUBLISHED:
        found.append(f"permission is {permission!r}: only a model of owned or permitted talks may be published")
    if licence not in (*OPEN, *WITH_TERMS, SCRATCH):
        known = ", ".join((*OPEN, *WITH_TERMS))
        found.append(f"the base's licence is {base_licence!r}, which is not known to allow it; known: {known}")
    if licence in WITH_TERMS and not any(fnmatch(Path(name).name, "LICENSE*") for name in files):
        found.append(f"{folder} holds no LICENSE*; the base's licence {licence} must go with the model: copy it there")
    if licence in LLAMA and not repository.rpartition("/")[2].lower().startswith("llama"):
        found.append(f"{repository!r}: the licence {licence} wants a name that begins with 'Llama'")
    if "README.md" not in files:
        found.append(f"{folder} holds no README.md; a model goes with its card: score the model first")
    if not any(name.endswith((".gguf", ".safetensors")) for name in files):
        found.append(f"{folder} holds no weights to publish; export the model first")
    return found


def chosen(folder: Path, without: Collection[str] = ()) -> list[str]:
    """The files of `folder` that would go, by their paths in it with forward slashes; hidden ones never do."""
    found = []
    for file in sorted(folder.rglob("*")):
        inside = file.relative_to(folder)
        if any(part in NEVER or part.startswith(".") for part in inside.parts) or not file.is_file():
            continue
        # A link may lead out of the folder, to what nobody meant to publish.
        if not file.resolve().is_relative_to(folder.resolve()):
            continue
        if inside.as_posix() not in without and any(fnmatch(file.name, wanted) for wanted in WANTED):
            found.append(inside.as_posix())
    return found


def _hidden(text: str, token: str) -> str:
    return text.replace(token, "***")
