"""A GGUF file where LM Studio looks for it: <models>/<publisher>/<model>/<file>, and nowhere else."""

import os
import re
import shutil
from pathlib import Path

from understudy.errors import ConfigError, ExportError

_PART = re.compile(r"^[A-Za-z0-9][\w.-]*$")


def models_folder() -> Path:
    """The default folder of LM Studio's models."""
    return Path.home() / ".lmstudio" / "models"


def place(gguf: Path, publisher: str, model: str, models: Path) -> Path:
    """Put `gguf` where LM Studio finds it and return the path. Raises ConfigError, ExportError.

    A hard link where the disk allows one, which takes no space, else a copy. It replaces a file of that name.
    """
    wrong = [name for name in (publisher, model) if not _PART.match(name)]
    problems = [f"{name!r} cannot be the name of a folder: letters, digits, '.', '_', '-'" for name in wrong]
    if not gguf.is_file():
        problems.append(f"{gguf} is not a file; export the model first")
    if problems:
        raise ConfigError(problems)
    out = models / publisher / model / gguf.name
    partial = out.with_name(f".{out.name}.{os.getpid()}.partial")
    if out.exists() and out.samefile(gguf):
        return out
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        partial.unlink(missing_ok=True)
        try:
            os.link(gguf.resolve(), partial)
        except OSError:  # another disk, or one without links
            shutil.copyfile(gguf, partial)
        os.replace(partial, out)
    except OSError as error:
        raise ExportError(f"{out}: could not be written: {error.strerror or error}") from None
    finally:
        partial.unlink(missing_ok=True)
    return out
