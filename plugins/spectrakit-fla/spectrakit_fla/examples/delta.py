"""What the layers that erase before they write are checked on."""

from __future__ import annotations

from typing import TYPE_CHECKING

from spectrakit_fla.examples import delta_references as references
from spectrakit_fla.examples.linear import WIDTH, layer, model, projections
from spectrakit_fla.mixers.comba import Comba
from spectrakit_fla.mixers.delta_net import DeltaNet
from spectrakit_fla.mixers.deltaproduct import DeltaProductLayer, GatedDeltaProductLayer
from spectrakit_fla.mixers.gated_deltanet import GatedDeltaNetLayer
from spectrakit_fla.mixers.kimi_delta import KimiDeltaLayer
from spectrakit_fla.mixers.pieces import ReadOut

if TYPE_CHECKING:
    from spectrakit.testing import Example
    from spectrakit_fla.examples.files import Shapes

_GATED, _PLAIN = ReadOut(1e-5), ReadOut(1e-5, gate=None)

LAYERS = (
    layer(
        "delta net",
        DeltaNet(
            model_width=WIDTH, heads=2, groups=2, state_size=5, head_width=3, read_out=_PLAIN
        ),
        references.delta_net,
    ),
    layer(
        "delta net, scaled to a sum",
        DeltaNet(
            model_width=WIDTH, heads=2, groups=2, state_size=5, head_width=3, read_out=_GATED,
            convolution_width=None, activation="elu", scaling="sum", learned_beta=False,
        ),
        references.delta_net,
    ),
    layer(
        "gated deltanet",
        GatedDeltaNetLayer(
            model_width=WIDTH, heads=4, groups=2, state_size=5, head_width=3, read_out=_GATED,
        ),
        references.delta_product,
    ),
    layer(
        "gated deltanet, without convolutions",
        GatedDeltaNetLayer(
            model_width=WIDTH, heads=4, groups=2, state_size=5, head_width=3, read_out=_PLAIN,
            convolution_width=None, largest_beta=2.0,
        ),
        references.delta_product,
    ),
    layer(
        "deltaproduct",
        DeltaProductLayer(
            model_width=WIDTH, heads=2, groups=2, state_size=5, head_width=4, read_out=_PLAIN,
            largest_beta=2.0, writes=3,
        ),
        references.delta_product,
    ),
    layer(
        "gated deltaproduct",
        GatedDeltaProductLayer(
            model_width=WIDTH, heads=3, groups=3, state_size=5, head_width=4, read_out=_GATED,
            largest_beta=2.0, writes=2,
        ),
        references.delta_product,
    ),
    layer(
        "kimi delta",
        KimiDeltaLayer(
            model_width=WIDTH, heads=4, groups=2, state_size=5, head_width=3, read_out=_PLAIN,
            rate_shape=(4,), largest_beta=2.0,
        ),
        references.kimi_delta,
    ),
    layer(
        "kimi delta, bounded",
        KimiDeltaLayer(
            model_width=WIDTH, heads=2, groups=2, state_size=5, head_width=3, read_out=_PLAIN,
            rate_shape=(2,), lower_bound=-4.0, convolution_width=3,
        ),
        references.kimi_delta,
    ),
    layer(
        "comba",
        Comba(
            model_width=WIDTH, heads=2, groups=2, state_size=5, head_width=3,
            read_out=ReadOut(1e-5, gate="sigmoid"),
        ),
        references.comba,
    ),
)  # fmt: skip


def convolutions(width: int, **channels: int) -> Shapes:
    """Shapes of `q_conv1d` and others, by their letters."""
    shapes: dict[str, tuple[int, ...]] = {
        f"{letter}_conv1d.weight": (size, 1, width) for letter, size in channels.items()
    }
    return shapes


DELTA = {
    **projections(12, q=12, k=12, v=24, b=3),
    **convolutions(4, q=12, k=12, v=24),
    "o_norm.weight": (8,),
    "o_proj.weight": (12, 24),
}
DECAY = {"a_proj.weight": (4, 12), "A_log": (4,), "dt_bias": (4,)}
GATED_DELTA = {
    **projections(12, q=10, k=10, v=28, b=4, g=28),
    **convolutions(3, q=10, k=10, v=28),
    **DECAY,
    "o_norm.weight": (7,),
    "o_proj.weight": (12, 28),
}
PRODUCT = {
    **projections(12, q=20, k=60, v=84, b=12),
    **DECAY,
    "o_norm.weight": (7,),
    "o_proj.weight": (12, 28),
}
KIMI_DELTA = {
    **projections(12, q=10, k=10, v=28, b=4),
    **convolutions(4, q=10, k=10, v=28),
    "A_log": (4,),
    "dt_bias": (20,),
    "f_proj.0.weight": (7, 12),
    "f_proj.1.weight": (20, 7),
    "g_proj.0.weight": (7, 12),
    "g_proj.1.weight": (28, 7),
    "g_proj.1.bias": (28,),
    "o_norm.weight": (7,),
    "o_proj.weight": (12, 28),
}
COMBA = {
    **projections(12, q=20, k=20, v=28, b=4, g=28),
    **convolutions(4, q=20, k=20, v=28),
    **DECAY,
    "decay": (4,),
    "D": (4,),
    "o_norm.weight": (7,),
    "o_proj.weight": (12, 28),
}
ATTENTION = {**projections(12, q=12, k=6, v=6), "o_proj.weight": (12, 12)}
_HEADS_OF_FIVE = {"hidden_size": 12, "head_dim": 5, "expand_v": 1.4}

MODELS = (
    model("delta_net", ("delta_net", "softmax_attention"),
          {"hidden_size": 12, "num_heads": 3, "expand_v": 2.0,
           "attn": {"layers": [1], "num_heads": 2, "num_kv_heads": 1}},
          (DELTA, ATTENTION)),
    model("gated_deltanet", ("gated_deltanet",) * 2,
          {**_HEADS_OF_FIVE, "num_heads": 2, "num_v_heads": 4, "conv_size": 3},
          (GATED_DELTA,) * 2),
    model("gated_deltaproduct", ("gated_deltaproduct",) * 2,
          {**_HEADS_OF_FIVE, "num_heads": 4, "num_householder": 3, "use_forget_gate": True,
           "use_output_gate": False, "use_short_conv": False, "allow_neg_eigval": True},
          (PRODUCT,) * 2),
    model("kda", ("kimi_delta",) * 2,
          {**_HEADS_OF_FIVE, "num_heads": 2, "num_v_heads": 4, "allow_neg_eigval": True},
          (KIMI_DELTA,) * 2),
    model("comba", ("comba",) * 2, {**_HEADS_OF_FIVE, "num_heads": 4}, (COMBA,) * 2),
)  # fmt: skip

DELTA_EXAMPLES: tuple[Example, ...] = (*LAYERS, *MODELS)
