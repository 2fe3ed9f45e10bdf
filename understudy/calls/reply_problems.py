"""Why a reply brought nothing, in words that say what to change."""

import re

from understudy.calls import Reply

_OPEN_THOUGHT = re.compile(r"\s*<(?:think|thinking|reasoning)>", re.IGNORECASE)
_END_OF_THOUGHT = re.compile(r"</(?:think|thinking|reasoning)>", re.IGNORECASE)
WAY_OUT = "raise teacher.thinking_tokens or turn thinking off"


def problem_of(reply: Reply) -> str | None:
    """What went wrong with a reply of which nothing can be used; None where only its text can show it."""
    if reply.finish == "refused":
        return (reply.refusal or reply.text).strip() or "the teacher refused and gave no reason"
    tokens = f"all {reply.usage.output:,} tokens" if reply.usage and reply.usage.output else "everything"
    if _OPEN_THOUGHT.match(reply.text) and not _END_OF_THOUGHT.search(reply.text):
        return f"{tokens} went into thinking; {WAY_OUT}"
    if not reply.text.strip():
        if reply.usage and reply.usage.reasoning:
            return f"{tokens} went into thinking; {WAY_OUT}"
        return "it wrote nothing but white space" if reply.text else "it wrote nothing"
    return None
