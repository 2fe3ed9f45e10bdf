"""The name in a preset that stands for a teacher chosen when a run starts: see `understudy.runs.local_teacher`."""

from understudy.teachers.extractive import ExtractiveTeacher


class AutoTeacher(ExtractiveTeacher):
    """A language model that answers on this machine for nothing, or else the free teacher that quotes the talks."""

    class Options(ExtractiveTeacher.Options):
        """Those of the free teacher, where it is the one that is taken."""
