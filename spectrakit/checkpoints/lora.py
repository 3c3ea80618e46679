"""What a PEFT adapter makes of a weight: LoRA and DoRA, merged.

    LoRA    W' = W + s B A                                    Hu et al. 2021, eq. 3
    DoRA    W' = m (W + s B A) / ||W + s B A||                Liu et al. 2024, eq. 5

W (out, in), A (r, in), B (out, r), m (out); the norm is that of each row. s = alpha / r, or
alpha / sqrt(r) (rank-stabilised, Kalajdzievski 2023). Of a convolution W is (out, in, taps...),
A (r, in, taps...), B (out, r, 1...): the same with inputs and taps as one axis.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from spectrakit.errors import MalformedError, UnsupportedError

if TYPE_CHECKING:
    from torch import Tensor

    from spectrakit.checkpoints.entries import TensorEntry

#: In front of every name: PEFT's model, and the one that it wraps.
_PREFIX = "base_model.model."
_ROLES = {
    "lora_A.weight": "a",
    "lora_B.weight": "b",
    "lora_embedding_A": "a",
    "lora_embedding_B": "b",
    "lora_magnitude_vector": "magnitude",
    "lora_magnitude_vector.weight": "magnitude",
}
#: Keys of the config that change the formula in ways not computed here.
_OTHER_FORMULAS = (
    "use_qalora",
    "use_bdlora",
    "lora_bias",
    "alora_invocation_tokens",
    "layer_replication",
    "arrow_config",
    "kasa_config",
    "monteclora_config",
    "target_parameters",
    "trainable_token_indices",
)
#: How A and B begin without a change to the base: the adapter alone says what is added.
_ADDS_NOTHING_AT_FIRST = (True, False, None, "gaussian", "eva", "mica", "orthogonal")

#: Of a name, in a config that comes from anywhere.
_LONGEST_PATTERN = 200


@dataclass
class Change:
    """What the adapter does to one tensor of the base.

    whole: the tensor of the adapter that takes its place. Else a and b, and for DoRA magnitude; and
    base, where the adapter has the weight that they change too.
    module: what the adapter calls it. scale: s. transposed: the base has (in, out), as GPT-2 does.
    """

    module: str = ""
    scale: float = 1.0
    transposed: bool = False
    embedding: bool = False
    whole: str | None = None
    base: str | None = None
    a: str | None = None
    b: str | None = None
    magnitude: str | None = None

    @property
    def names(self) -> tuple[str, ...]:
        """Its tensors in the adapter."""
        every = (self.whole, self.base, self.a, self.b, self.magnitude)
        return tuple(name for name in every if name)

    def merged(self, weight: Tensor, adapter: Mapping[str, Tensor]) -> Tensor:
        """The tensor in place of `weight`, in its dtype; computed in float32 or better."""
        if self.whole is not None:
            return adapter[self.whole].to(weight.dtype)
        import torch

        wide = torch.promote_types(weight.dtype, torch.float32)
        a, b = (adapter[str(name)].to(wide) for name in (self.a, self.b))
        base = (weight if self.base is None else adapter[self.base]).to(wide)
        if base.ndim > 2:  # a convolution
            product = (b.flatten(1) @ a.flatten(1)).reshape(base.shape)
            return (base + self.scale * product).to(weight.dtype)
        turned = self.transposed != self.embedding  # an embedding's product is (width, tokens)
        base = base.T if turned else base
        merged = base + self.scale * (b @ a)
        if self.magnitude is not None:
            norm = torch.linalg.vector_norm(merged, dim=1)
            merged = (adapter[self.magnitude].to(wide).flatten() / norm)[:, None] * merged
        return (merged.T if turned else merged).to(weight.dtype).contiguous()


def changes(
    config: Mapping[str, Any],
    adapter: Mapping[str, TensorEntry],
    base: Mapping[str, TensorEntry],
    label: str,
) -> dict[str, Change]:
    """What the adapter does, by the base's tensor. label: the adapter, for errors.

    Raises `UnsupportedError` for adapters other than LoRA and DoRA, and where a tensor of it fits
    none of the base.
    """
    _check_formula(config, label)
    found: dict[str, Change] = {}
    for name in adapter:
        module, role = _module_and_role(name.removeprefix(_PREFIX))
        target = _target(module, role, base)
        if target is None:
            raise UnsupportedError(
                f"{label}: {name} changes nothing that the base model has; is"
                " base_model_name_or_path the model it was trained on?",
                hint=_merged_by_peft(label),
            )
        change = found.setdefault(target, Change())
        if role is None:
            change.whole = name
            continue
        setattr(change, role, name)
        change.embedding = change.embedding or "lora_embedding" in name
        change.transposed = bool(config.get("fan_in_fan_out"))
        change.module = module
    for target, change in found.items():
        if change.a is not None:  # on a weight that the adapter has, as of an embedding
            change.whole, change.base = None, change.whole
        _check_shapes(change, adapter, base[target], label)
        if change.a is not None:
            rank = adapter[change.a].shape[0]
            change.scale = _scale(config, change.module, rank, label)
    return found


def _check_formula(config: Mapping[str, Any], label: str) -> None:
    kind = str(config.get("peft_type"))
    others = [key for key in _OTHER_FORMULAS if config.get(key)]
    if kind.upper() != "LORA" or others:
        what = ", ".join(others) or kind
        raise UnsupportedError(
            f"{label} is a PEFT adapter of a kind that is not merged here ({what}), only LoRA and"
            " DoRA are",
            hint=_merged_by_peft(label),
        )
    start = config.get("init_lora_weights")
    if start not in _ADDS_NOTHING_AT_FIRST:
        raise UnsupportedError(
            f"{label} is a PEFT adapter of changed base weights (init_lora_weights is {start!r}),"
            " which it does not hold",
            hint=_merged_by_peft(label),
        )


def _merged_by_peft(folder: str) -> str:
    """The line that makes a model of the adapter in `folder`, of whatever kind."""
    return (
        "in Python: from peft import AutoPeftModelForCausalLM as Adapted;"
        f" Adapted.from_pretrained({folder!r}).merge_and_unload().save_pretrained('merged')"
    )


def _module_and_role(name: str) -> tuple[str, str | None]:
    for end, role in _ROLES.items():
        if name.endswith("." + end):
            return name.removesuffix("." + end), role
    # What the adapter has of the layer that it wraps: its bias, or the weight of an embedding.
    return name.replace(".base_layer.", "."), None


def _target(module: str, role: str | None, base: Mapping[str, TensorEntry]) -> str | None:
    """The base's tensor, whose name may have further words in front, or fewer."""
    name = module if role is None else f"{module}.weight"
    if name in base:
        return name
    near = [own for own in base if own.endswith(f".{name}") or name.endswith(f".{own}")]
    return near[0] if len(near) == 1 else None


def _scale(config: Mapping[str, Any], module: str, rank: int, label: str) -> float:
    default = config.get("lora_alpha", rank)
    alpha = _of_pattern(config.get("alpha_pattern"), module, default, label)
    if not isinstance(alpha, int | float) or not math.isfinite(alpha):
        raise MalformedError(f"{label}: lora_alpha of {module} is {alpha!r}, not a number")
    return alpha / (math.sqrt(rank) if config.get("use_rslora") else rank)


def _of_pattern(patterns: object, module: str, default: object, label: str) -> object:
    """The value for `module`, by the first pattern that its name ends with; PEFT's own rule."""
    for pattern, value in patterns.items() if isinstance(patterns, Mapping) else ():
        # A group that repeats may take for ever on a name that somebody chose.
        if len(pattern) > _LONGEST_PATTERN or re.search(r"\)[*+?{]", pattern):
            message = f"{label}: the pattern {pattern[:_LONGEST_PATTERN]!r} is not followed here"
            raise UnsupportedError(message, hint="name the module itself in alpha_pattern")
        try:
            matched = re.match(rf"(.*\.)?({pattern})$", module)
        except re.error as error:
            raise MalformedError(f"{label}: alpha_pattern {pattern!r}: {error}") from error
        if matched:
            return value
    return default


def _check_shapes(
    change: Change, adapter: Mapping[str, TensorEntry], base: TensorEntry, label: str
) -> None:
    shapes = {name: adapter[name].shape for name in change.names}
    own = [shapes[name] for name in (change.whole, change.base) if name is not None]
    fits = all(shape == base.shape for shape in own)
    if change.whole is None:
        fits = fits and change.a is not None and change.b is not None
        fits = fits and _is_product(shapes[str(change.a)], shapes[str(change.b)], change, base)
    if not fits:
        message = f"{label}: {', '.join(change.names)} do not fit {base.name} {list(base.shape)}"
        if len(base.shape) > 2:
            message += "; of a grouped convolution an adapter has no merged form"
        raise UnsupportedError(message, hint=_merged_by_peft(label))


def _is_product(a: tuple[int, ...], b: tuple[int, ...], change: Change, base: TensorEntry) -> bool:
    """Whether A and B have some rank, and their product the shape of what they change."""
    if not len(a) == len(b) == len(base.shape) >= 2 or 0 in (*a, *b, *base.shape):
        return False
    if len(base.shape) > 2:  # a convolution
        once = (1,) * len(b[2:])
        plain = change.magnitude is None and not change.embedding
        return plain and a[0] == b[1] and b[2:] == once and base.shape == (b[0], *a[1:])
    turned = change.transposed != change.embedding
    return a[0] == b[1] and base.shape == ((a[1], b[0]) if turned else (b[0], a[1]))
