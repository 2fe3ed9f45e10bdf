"""
The rehearsal of an export, before a model is trained: its vocabulary and template as a file, read by llama.cpp.

Everything that an export would refuse is found here in seconds, and not after the training.
"""

import shutil
import tempfile
from pathlib import Path

from understudy.errors import ExportError
from understudy.exporters import gguf_convert, templates
from understudy.exporters.gguf_jobs import Rehearse
from understudy.gguf import families
from understudy.interfaces import Progress
from understudy.worker import serve

FILES = ("config.json", "generation_config.json", "tokenizer*", "chat_template*", "special_tokens_map.json", "*.model")

VOCABULARY = "vocabulary.gguf"


def run(job: Rehearse, progress: Progress) -> list[str]:
    """One sentence for each reason why the tuned model could not be written, or would be prompted otherwise."""
    try:
        gguf_convert.require_writable(job.model, job.llama_cpp_dir)
        if families.kind(job.model) not in families.known():
            return []  # llama.cpp's own converter will say
        with tempfile.TemporaryDirectory() as name:
            copy = _without_weights(job.model, Path(name) / job.model.name)
            templates.set_defaults(copy)
            gguf_convert.write_vocabulary(copy, copy / VOCABULARY)
            differences = templates.compare(copy, copy / VOCABULARY).differences
            return [difference.removeprefix(f"{VOCABULARY}: ") for difference in differences]
    except ExportError as error:
        return [str(error)]


def _without_weights(model: Path, copy: Path) -> Path:
    copy.mkdir()
    for file in {file for pattern in FILES for file in model.glob(pattern) if file.is_file()}:
        shutil.copyfile(file, copy / file.name)
    return copy


if __name__ == "__main__":
    serve(Rehearse, run)
