"""What the layers with scalar and diagonal decays, and attention, are checked on."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from spectrakit.testing import CheckpointExample, Example, MixerExample, random_parameters
from spectrakit_fla.examples import references
from spectrakit_fla.examples.files import Shapes, tokens, write_model
from spectrakit_fla.mixers.forgetting_attention import ForgettingAttention
from spectrakit_fla.mixers.gla import GLA
from spectrakit_fla.mixers.hgrn import HGRN
from spectrakit_fla.mixers.hgrn2 import HGRN2
from spectrakit_fla.mixers.linear_attention import FeatureAttention
from spectrakit_fla.mixers.pieces import ReadOut
from spectrakit_fla.mixers.retention import MultiScaleRetention
from spectrakit_fla.mixers.rotary_attention import RotaryAttention

if TYPE_CHECKING:
    from spectrakit.mixers import Parameters
    from spectrakit.mixers.base import WrittenOutMixer

WIDTH = 6


def layer(
    name: str, mixer: WrittenOutMixer, reference: Callable[[Any, Tensor, Parameters], Tensor]
) -> MixerExample:
    """`mixer` with random parameters; it goes by `name` layer, beside the models of the name."""
    generator = torch.Generator().manual_seed(2)
    return MixerExample(
        f"{name} layer",
        mixer,
        random_parameters(mixer),
        torch.randn(2, 21, WIDTH, generator=generator, dtype=torch.float64),
        partial(reference, mixer),
    )


LAYERS = (
    layer(
        "retention",
        MultiScaleRetention(4, state_size=8, head_width=5, model_width=WIDTH, groups=2),
        references.retention,
    ),
    layer(
        "linear attention",
        FeatureAttention(WIDTH, heads=4, groups=2, key_width=3, head_width=5),
        references.linear_attention,
    ),
    layer(
        "normalised linear attention",
        FeatureAttention(
            WIDTH, heads=4, groups=2, key_width=3, head_width=5, feature_map="hedgehog",
            normed_query=True, normed_key=True, normalised=True,
        ),
        references.linear_attention,
    ),
    layer(
        "gla",
        GLA(WIDTH, heads=4, groups=2, state_size=3, head_width=5, gate_rank=7, clamp=-0.08),
        references.gla,
    ),
    layer(
        "convolved gla",
        GLA(
            WIDTH, heads=2, groups=2, state_size=3, head_width=5, convolution_width=4,
            read_out=ReadOut(1e-6, gate=None, affine=False),
        ),
        references.gla,
    ),
    layer("hgrn", HGRN(WIDTH, channels=5, layer=2, layers=4), references.hgrn),
    layer(
        "convolved hgrn",
        HGRN(WIDTH, channels=5, layer=0, layers=None, convolution_width=3),
        references.hgrn,
    ),
    layer("hgrn2", HGRN2(WIDTH, 2, 3, 5, layer=1, layers=4), references.hgrn2),
    layer(
        "forgetting attention",
        ForgettingAttention(
            4, model_width=WIDTH, groups=2, head_width=3, bias=True, normed=True, gated=True
        ),
        references.forgetting_attention,
    ),
    layer(
        "rotary attention",
        RotaryAttention(4, model_width=WIDTH, groups=2, head_width=8, window=5, bias=True),
        references.rotary_attention,
    ),
)  # fmt: skip


def model(
    model_type: str,
    kinds: Sequence[str],
    config: Mapping[str, Any],
    mixers: Sequence[Shapes],
    whole: Shapes | None = None,
) -> CheckpointExample:
    """A tiny model of fla; see `write_model`."""
    return CheckpointExample(
        model_type,
        "fla-linear-attention",
        tuple(kinds),
        partial(write_model, model_type=model_type, config=config, mixers=mixers, model=whole),
        tokens(),
    )


def projections(width: int, **channels: int) -> Shapes:
    """Shapes of `q_proj` and others, by their letters."""
    shapes: dict[str, tuple[int, ...]] = {
        f"{letter}_proj.weight": (size, width) for letter, size in channels.items()
    }
    return shapes


RETNET = {
    **projections(12, q=12, k=12, v=24, g=24),
    "o_proj.weight": (12, 24),
    "g_norm_swish_gate.weight": (8,),
}
LINEAR = {
    **projections(12, q=12, k=12, v=12),
    "o_proj.weight": (12, 12),
    "norm.weight": (4,),
    **{f"feature_map_{of}.layer{n}.weight": (4, 4) for of in "qk" for n in (1, 2)},
    **{f"feature_map_{of}.layer{n}.bias": (4,) for of in "qk" for n in (1, 2)},
}
GATED_LINEAR = {
    **projections(12, q=6, k=6, v=12, g=12),
    "o_proj.weight": (12, 12),
    "gk_proj.0.weight": (16, 12),
    "gk_proj.1.weight": (6, 16),
    "gk_proj.1.bias": (6,),
    "g_norm_swish_gate.weight": (4,),
}
ATTENTION = {**projections(12, q=12, k=6, v=6), "o_proj.weight": (12, 12)}
FORGETTING = {
    **projections(12, q=12, k=12, v=12, f=3),
    "o_proj.weight": (12, 12),
    "f_proj.bias": (3,),
}
HGRN_LAYER = {
    **projections(12, i=12, f=12, g=12),
    "o_proj.weight": (12, 12),
    "g_norm.weight": (12,),
}
HGRN2_LAYER = {
    **projections(12, q=12, f=12, i=12),
    "o_proj.weight": (12, 12),
    "g_norm.weight": (12,),
}
BOUNDS = {"model.lower_bounds": (2, 12)}

MODELS = (
    model("retnet", ("retention",) * 2, {"hidden_size": 12, "num_heads": 3}, (RETNET,) * 2),
    model("linear_attn", ("linear_attention",) * 2,
          {"hidden_size": 12, "num_heads": 3}, (LINEAR,) * 2),
    model("gla", ("gla", "softmax_attention"),
          {"hidden_size": 12, "num_heads": 3,
           "attn": {"layers": [1], "num_heads": 2, "num_kv_heads": 1, "window_size": 7}},
          (GATED_LINEAR, ATTENTION)),
    model("hgrn", ("hgrn",) * 2, {"hidden_size": 12}, (HGRN_LAYER,) * 2, BOUNDS),
    model("hgrn2", ("hgrn2",) * 2,
          {"hidden_size": 12, "num_heads": None, "expand_ratio": 4}, (HGRN2_LAYER,) * 2, BOUNDS),
    model("forgetting_transformer", ("forgetting_attention",) * 2,
          {"hidden_size": 12, "num_heads": 3}, (FORGETTING,) * 2),
)  # fmt: skip

LINEAR_EXAMPLES: tuple[Example, ...] = (*LAYERS, *MODELS)
