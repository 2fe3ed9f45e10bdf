"""
All plugins, by kind and by the name that a preset uses.

Targets are strings, so that importing this file imports no backend: a plugin is loaded when a
preset names it, and mlx or llama_cpp only when it runs.
"""

import difflib
from hashlib import sha256
from importlib import import_module
from typing import Any

from pydantic import ValidationError

from understudy.errors import ConfigError

PLUGINS: dict[str, dict[str, str]] = {
    "source": {
        "documents": "understudy.sources.documents:DocumentsSource",
        "pairs": "understudy.sources.pairs:PairsSource",
        "podcast": "understudy.sources.podcast:PodcastSource",
        "youtube": "understudy.sources.youtube:YoutubeSource",
    },
    "recipe": {
        "expert": "understudy.recipes.expert:ExpertRecipe",
        "grounded": "understudy.recipes.grounded:GroundedRecipe",
        "teach": "understudy.recipes.teach:TeachRecipe",
    },
    "teacher": {
        "auto": "understudy.teachers.auto:AutoTeacher",
        "extractive": "understudy.teachers.extractive:ExtractiveTeacher",
        "given": "understudy.teachers.given:GivenTeacher",
        "llama_cpp": "understudy.teachers.llama_cpp:LlamaCppTeacher",
        "openai": "understudy.teachers.openai:OpenAITeacher",
        "replay": "understudy.teachers.replay:ReplayTeacher",
    },
    "gate": {
        "boilerplate": "understudy.gates.boilerplate:BoilerplateGate",
        "characters": "understudy.gates.characters:CharactersGate",
        "citations": "understudy.gates.citations:CitationsGate",
        "duplicates": "understudy.gates.duplicates:DuplicatesGate",
        "endings": "understudy.gates.endings:EndingsGate",
        "formatting": "understudy.gates.formatting:FormattingGate",
        "grounding": "understudy.gates.grounding:GroundingGate",
        "instructions": "understudy.gates.instructions:InstructionsGate",
        "language": "understudy.gates.language:LanguageGate",
        "length": "understudy.gates.length:LengthGate",
        "mentions": "understudy.gates.mentions:MentionsGate",
        "private": "understudy.gates.private:PrivateGate",
        "quality": "understudy.gates.quality:QualityGate",
        "repetition": "understudy.gates.repetition:RepetitionGate",
        "verbatim": "understudy.gates.verbatim:VerbatimGate",
    },
    "base": {
        "gguf": "understudy.bases.gguf:GgufBase",
        "hub": "understudy.bases.hub:HubBase",
        "scratch": "understudy.bases.scratch:ScratchBase",
    },
    "trainer": {
        "auto": "understudy.trainers.auto:AutoTrainer",
        "external": "understudy.trainers.external:ExternalTrainer",
        "mlx_lora": "understudy.trainers.mlx_lora:MlxLoraTrainer",
        "peft_lora": "understudy.trainers.peft_lora:PeftLoraTrainer",
    },
    "exporter": {
        "gguf": "understudy.exporters.gguf:GgufExporter",
    },
    "engine": {
        "llama_cpp": "understudy.engines.llama_cpp:LlamaCppEngine",
        "mlx": "understudy.engines.mlx:MlxEngine",
    },
    "metric": {
        "citations": "understudy.metrics.citations:CitationsMetric",
        "copying": "understudy.metrics.copying:CopyingMetric",
        "correctness": "understudy.metrics.correctness:CorrectnessMetric",
        "degeneration": "understudy.metrics.degeneration:DegenerationMetric",
        "format_gap": "understudy.metrics.format_gap:FormatGapMetric",
        "formatting": "understudy.metrics.formatting:FormattingMetric",
        "likeness": "understudy.metrics.likeness:LikenessMetric",
        "nll": "understudy.metrics.nll:NllMetric",
        "style": "understudy.metrics.style:StyleMetric",
    },
}

RENAMED = {
    "linears": "target_modules",
    "layers": "num_layers",
    "scale": "alpha (scale x rank)",
    "decay": "lr_scheduler",
    "warmup": "warmup_ratio",
    "accumulation": "gradient_accumulation_steps",
    "clip": "max_grad_norm",
    "updates": "steps",
    "min_updates": "min_steps",
    "same_top": "top1_agreement",
}
"""Options of trainer, base, tune and export.limits in 0.1.0 -> their names since 0.2.0."""


def resolve(kind: str, name: str) -> type[Any]:
    """The plugin class called `name`. Raises ConfigError naming the choices."""
    targets = PLUGINS[kind]
    if name not in targets:
        raise ConfigError([f"unknown {kind} {name!r}; choose from {', '.join(sorted(targets))}"])
    module, _, attribute = targets[name].partition(":")
    plugin: type[Any] = getattr(import_module(module), attribute)
    return plugin


def build(kind: str, name: str, options: dict[str, Any]) -> Any:
    """The plugin with its options validated. Raises ConfigError."""
    plugin = resolve(kind, name)
    return plugin(plugin.Options.model_validate(options))


def option_problems(kind: str, name: str, options: dict[str, Any]) -> list[str]:
    """What is wrong with the options of a plugin, one phrase each; [] when nothing is."""
    try:
        plugin = resolve(kind, name)
        plugin.Options.model_validate(options)
    except ConfigError as error:
        return error.problems
    except ValidationError as error:
        return [_phrase(e, kind, name) for e in error.errors()]
    return []


def _phrase(error: Any, kind: str, name: str) -> str:
    where, fields = ".".join(str(part) for part in error["loc"]), resolve(kind, name).Options.model_fields
    if error["type"] == "missing":
        about = fields[where].description if where in fields else None
        return f"{where}: is missing: {about}" if about else f"{where}: is missing"
    if error["type"] != "extra_forbidden":
        own = error["msg"].removeprefix("Value error, ")
        return f"{where}: {own if own != error['msg'] else own.lower()} (got {error['input']!r})"
    others = [other for other in PLUGINS[kind] if other != name and where in resolve(kind, other).Options.model_fields]
    if others:
        ways = " or ".join(f"--set {kind}.use={other}" for other in others)
        return f"{where}: the {kind} {name!r} has no such option; choose one that has it: {ways}"
    return f"{where}: unknown option{nearest(where, list(fields))}"


def nearest(word: str, known: list[str]) -> str:
    """'; did you mean X?' or, where nothing is close, '; choose from ...'; a renamed option names its new name."""
    renamed = RENAMED.get(word, "")
    if renamed.split(" ")[0] in known:
        return f"; it is called {renamed} now"
    close = difflib.get_close_matches(word, known, n=1) or difflib.get_close_matches(word.lower(), known, n=1)
    if close:
        return f"; did you mean {close[0]!r}?"
    return f"; choose from {', '.join(sorted(known)) or 'none: it has no options'}"


def identity(kind: str, name: str, options: dict[str, Any]) -> dict[str, Any]:
    """What decides the output of a plugin: its name, VERSION and options, defaults filled in.

    A plugin lists in INDIFFERENT the options that only say where or how fast, such as a folder's
    path or a number of threads.
    """
    plugin = resolve(kind, name)
    filled = plugin.Options.model_validate(options).model_dump(
        mode="json", exclude=getattr(plugin, "INDIFFERENT", None)
    )
    return {"use": name, "version": plugin.VERSION, "options": filled}


def source_key(name: str, options: dict[str, Any]) -> str:
    """What tells the sources of one home apart: which place it is, whatever its other options."""
    plugin = resolve("source", name)
    place = plugin.place(plugin.Options.model_validate(options))
    return sha256(f"{name} {place}".encode()).hexdigest()[:6]


def compare() -> Any:
    """The function that compares two forms of a model, an `interfaces.Compare`."""
    return import_module("understudy.engines.comparison").compare
