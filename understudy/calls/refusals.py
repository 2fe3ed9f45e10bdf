"""
What a server's refusal is about: one talk, the account, a slip of the model, a model that is still being loaded.

No two providers word them alike, so each kind is recognised by the words that several of them use. What no pattern
knows is left to its HTTP status.
"""

import re

from understudy.calls import Finish

# A filter looks at the words of one talk. An account that was closed for what it did is another matter.
_CONTENT = re.compile(
    r"content[_ ]?filter|content management policy|responsible_?ai|content[_ ]policy|polic(?:y|ies)[_ ]violation"
    r"|data_?inspection|inappropriate content|\bmoderation\b|\bwas flagged|flagged (?:for|as)"
    r"|prohibited[_ ]content|\bsafety\b|blocklist|recitation|\bspii\b|content exists? risk|high risk|guardrail"
    r"|sensitive[_ ]?(?:content|information|words?)|new_sensitive|violat\w+ (?:of )?(?:our |the |its |\w+ )?"
    r"(?:usage|use|content|safety|community|policy|guideline|polic)|content violates|usage guidelines"
    r"|敏感内容|不安全|違規|违规",
    re.IGNORECASE,
)
_ACCOUNT = re.compile(
    r"\b(?:account|organi[sz]ation|project|api key|workspace|subscription)\b[^.]{0,60}"
    r"\b(?:suspended|deactivated|disabled|banned|terminated|restricted|blocked|flagged)",
    re.IGNORECASE,
)
_EMPTY_ACCOUNT = re.compile(
    r"insufficient[_ ](?:account[_ ])?(?:balance|credits?|funds)|not enough (?:credits?|balance|funds)"
    r"|balance (?:is )?(?:insufficient|too low|not enough|exhausted)|out of credits?|any credits|no credits|arrearage"
    r"|account is in good standing|used all (?:available |your )?credits|requires more credits|add (?:more )?credits"
    r"|purchase (?:more )?credits|(?:monthly )?spending limit|key limit exceeded|余额不足|欠费",
    re.IGNORECASE,
)
# The model wrote something else than the schema, which this server checks at the end: another draw may do.
_SLIP = re.compile(
    r"json_validate_failed|tool_use_failed|failed_generation|failed to (?:generate|validate) json"
    r"|(?:generated|output|response) (?:json )?(?:does|did) not match the (?:expected |json )?schema",
    re.IGNORECASE,
)
_LOADING = re.compile(
    r"\bloading\b|\bloaded\b|\bwarming[ -]?up\b|\bstarting\b|\bbooting\b|\binitiali[sz]ing\b|\bnot (?:yet )?ready\b"
    r"|\bcold start|\bspinning up\b|\bscaling (?:up|from)\b|\bwaking up\b",
    re.IGNORECASE,
)
_FILTERED = re.compile(
    r"content_?filter|safety|recitation|prohibited|blocklist|\bspii\b|sensitive|guardrail|moderat|refus|flagged|unsafe"
)
_CAPPED = re.compile(r"length|max_?(?:output_?|new_?)?tokens|token_limit")
_BROKEN = re.compile(
    r"error|insufficient_system_resource|malformed_function_call|abort|cancel|timeout|^other$|_other$|interrupt"
)
FILTER_WORDS = "stopped by the provider's content filter"


def about_content(status: int | None, text: str) -> bool:
    """Whether a filter refused the words of one talk; `text` is the server's code and message."""
    if status == 451:
        return True
    return status in (200, 400, 403, 422) and bool(_CONTENT.search(text)) and not _ACCOUNT.search(text)


def about_money(status: int | None, text: str) -> bool:
    """Whether credit is used up, by the words of a refusal whose code does not say so."""
    return status in (400, 403, 429) and bool(_EMPTY_ACCOUNT.search(text))


def about_a_slip(status: int | None, text: str) -> bool:
    """Whether the server refused what the model wrote, not what it was asked."""
    return status in (400, 422) and bool(_SLIP.search(text))


def about_loading(status: int | None, text: str) -> bool:
    """Whether the server is there and its model is not yet."""
    return status == 503 and bool(_LOADING.search(text))


def ending(reason: str) -> Finish:
    """'length', 'refused', 'cut' or 'stop' for a finish_reason in any provider's words."""
    word = reason.strip().lower()
    if _FILTERED.search(word):
        return "refused"
    if _CAPPED.search(word):
        return "length"
    return "cut" if _BROKEN.search(word) else "stop"


def filter_words(reason: str) -> str:
    """What to say of a reply that a filter ended with this finish_reason."""
    return FILTER_WORDS if reason in ("", "content_filter") else f"{FILTER_WORDS} ({reason.strip()})"
