"""The tensors of a model family: which a folder must hold, their shapes, and their names in a GGUF file."""

from collections.abc import Callable

from understudy.gguf.families import BODY, HEAD, Family, ModelConfig, Shape


def in_pairs(family: Family, name: str) -> bool:
    """Whether the rows of this tensor move: llama.cpp rotates neighbours where transformers rotates halves."""
    return bool(family.rotated_in_pairs) and name.split(".", 3)[-1].startswith(family.rotated_in_pairs)


def names(config: ModelConfig, family: Family) -> Callable[[str], list[str]]:
    """A function from the name of a tensor to its names in the GGUF file: several when it is split."""
    from gguf import MODEL_ARCH_NAMES, get_tensor_name_map

    architecture = next(kind for kind, name in MODEL_ARCH_NAMES.items() if name == family.architecture)
    known = get_tensor_name_map(architecture, config.num_hidden_layers)

    def named(name: str) -> list[str]:
        whole, parts = next(((w, p) for w, p in family.split_into.items() if f".{w}" in name), ("", ("",)))
        gguf_names = [known.get_name(name.replace(whole, part), try_suffixes=(".weight", ".bias")) for part in parts]
        assert all(gguf_names), name  # the families' names are the name map's
        return [str(gguf_name) for gguf_name in gguf_names]

    return named


def shapes(config: ModelConfig, family: Family, tied: bool) -> tuple[dict[str, Shape], dict[str, Shape]]:
    """Name > shape of the tensors that must be there, and of those that may."""
    layers = [f"model.layers.{number}." for number in range(config.num_hidden_layers)]
    required = BODY | ({} if tied else {HEAD: BODY["model.embed_tokens.weight"]})
    required = required | {layer + name: shape for layer in layers for name, shape in family.layer.items()}
    return required, required | {layer + name: shape for layer in layers for name, shape in family.optional.items()}


def matrices(config: ModelConfig, family: Family) -> dict[str, tuple[int, ...]]:
    """Name > shape of every matrix of a layer, under the name of its parts as well: mlx may have split it."""
    shapes = {}
    for name, shape in family.layer.items():
        sizes = tuple(config.sizes[size] for size in shape)
        parts = next((parts for whole, parts in family.split_into.items() if name.startswith(whole)), ())
        shapes[name] = sizes
        shapes |= {f"{part}weight": (sizes[0] // len(parts), *sizes[1:]) for part in parts}
    layers = [f"model.layers.{number}." for number in range(config.num_hidden_layers)]
    return {layer + name: shape for layer in layers for name, shape in shapes.items() if len(shape) > 1}
