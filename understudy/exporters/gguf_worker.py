"""The process in which a GGUF file is made."""

from understudy.exporters import gguf_convert, gguf_importance, gguf_quantize
from understudy.exporters.gguf_jobs import Convert, ConvertAdapter, Job, Quantize
from understudy.interfaces import Progress
from understudy.records import ImportanceCard
from understudy.worker import serve


def run(job: Job, progress: Progress) -> ImportanceCard | None:
    """Do the job's task. Raises ExportError."""
    match job.task:
        case Convert() as task:
            gguf_convert.convert(task.model, task.out, task.name, progress, task.type, task.llama_cpp_dir)
        case ConvertAdapter() as task:
            gguf_convert.adapter(task.base, task.adapter, task.out)
            progress(1, 1)
        case Quantize() as task:
            gguf_quantize.quantize(task.source, task.out, task.type, progress, task.imatrix)
        case task:
            return gguf_importance.measure(task.model, task.rows, task.out, progress)
    return None


if __name__ == "__main__":
    serve(Job, run)
