"""Whether two models are of one family, by their names, and whether a teacher plugin can judge at all."""

import re

from understudy.calls.model_teacher import ModelTeacher

_FAMILIES = {
    "OpenAI": r"gpt|(?<![a-z0-9])o[1-9](?![a-z0-9])",
    "Anthropic": "claude",
    "Google": "gemini|gemma",
    "Meta": "llama(?!_cpp)",
    "Qwen": "qwen|qwq",
    "Mistral": "mistral|ministral|mixtral|magistral|codestral|devstral|pixtral",
    "DeepSeek": "deepseek",
    "Microsoft": r"(?<![a-z])phi",
    "xAI": "grok",
    "Cohere": "command-|c4ai|(?<![a-z])aya",
    "Zhipu": r"(?<![a-z])glm",
    "Moonshot": "kimi",
    "IBM": "granite",
}


def families(label: str) -> set[str]:
    """Who made the model, by its name; a distilled one has two makers."""
    name = label.partition("/")[2] or label
    return {maker for maker, pattern in _FAMILIES.items() if re.search(pattern, name.lower())}


def shared(one: str, other: str) -> str | None:
    """What two labels have in common, in words; None where they have nothing or it is not known."""
    if one == other:
        return "the same model"
    makers = sorted(families(one) & families(other))
    return f"both {' and '.join(makers)} models" if makers else None


def problems(model: object, section: str) -> list[str]:
    """What makes a teacher plugin unusable as the judge that `section` of the preset names, one sentence each."""
    if not isinstance(model, ModelTeacher):
        name = getattr(model, "label", type(model).__name__)
        return [f"{section}.use: {name!r} is no model that can judge; take openai or llama_cpp, or none"]
    return [re.sub(r"^teacher\.", f"{section}.", problem) for problem in model.problems()]
