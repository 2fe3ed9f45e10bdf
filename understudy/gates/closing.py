"""Proper endings of answers in any script, and before emoji."""

import re

_SIGNS = "\u200d\u20e3\ufe0f\u2190-\u21ff\u2300-\u27bf\u2b00-\u2bff\U0001f000-\U0001faff"
_FLOURISH = re.compile(rf"(?<=[.!?…。！？؟۔।*_)])[ \t]*[{_SIGNS}][{_SIGNS}\s]*\Z")
_OTHER_STOP = re.compile(r"[؟۔।](?=[\s*_)\"'”’»]*\Z)")


def settled(answer: str) -> str:
    """`answer` without the emoji after its last sentence, and with a full stop for one of another script.

    For `understudy.text.markdown`, which knows neither and would report an answer that breaks off.
    """
    return answer if answer.isascii() else _OTHER_STOP.sub(".", _FLOURISH.sub("", answer))
