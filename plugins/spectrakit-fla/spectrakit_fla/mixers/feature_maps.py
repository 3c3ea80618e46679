"""The feature maps of fla's linear attention: of a query or a key x of K channels, N features.

    elu                   elu(x) + 1                                      N = K
    relu                  max(x, 0)                                       N = K
    identity              x                                               N = K
    elementwise_product   (W_1 x + b_1) (W_2 x + b_2)                     N = K
    t2r                   max(W x, 0)                                     N = K
    hedgehog              softmax(2 z, -2 z), z = W x + b                 N = 2 K
    dpfp                  (r_i r_{i-j}),  r = (max(x, 0), -max(x, 0))     N = 8 K: j = 1 .. 4

Katharopoulos et al. 2020 (arXiv 2006.16236), Kasai et al. 2021 (arXiv 2103.13076), Schlag et al.
2021 (arXiv 2102.11174; both halves of r are of max(x, 0), as fla has it), Zhang et al. 2024 (arXiv
2402.04347). W and b are the layer's own for queries and for keys, shared by its heads.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Literal, TypeAlias

from spectrakit._lazy import lazy_import

if TYPE_CHECKING:
    import torch
    from torch import Tensor
    from torch.nn import functional

    from spectrakit.mixers.base import Parameters
else:
    torch = lazy_import("torch")
    functional = lazy_import("torch.nn.functional")

FeatureMap: TypeAlias = Literal[
    "elementwise_product", "elu", "relu", "identity", "t2r", "hedgehog", "dpfp"
]

#: Whose features can be negative, so that their sums have no logarithm.
SIGNED = frozenset({"elementwise_product", "identity", "dpfp"})

#: nu of DPFP: how many neighbours every r_i is multiplied with.
_NEIGHBOURS = 4

#: Layers of a map with parameters, and whether they have a bias.
_LAYERS: Mapping[FeatureMap, tuple[tuple[str, bool], ...]] = {
    "elementwise_product": (("1", True), ("2", True)),
    "t2r": (("", False),),
    "hedgehog": (("", True),),
}


def feature_count(feature_map: FeatureMap, width: int) -> int:
    """N of `width` K."""
    copies = {"hedgehog": 2, "dpfp": 2 * _NEIGHBOURS}
    return copies.get(feature_map, 1) * width


def feature_shapes(feature_map: FeatureMap, width: int) -> dict[str, tuple[int, ...]]:
    """The shape of every parameter of the maps of queries and keys, by role."""
    shapes: dict[str, tuple[int, ...]] = {}
    for of in ("query", "key"):
        for layer, biased in _LAYERS.get(feature_map, ()):
            shapes[f"{of}_features{layer}"] = (width, width)
            if biased:
                shapes[f"{of}_features{layer}_bias"] = (width,)
    return shapes


def features(feature_map: FeatureMap, x: Tensor, p: Parameters, of: str) -> Tensor:
    """The features (B, T, H, N) of x (B, T, H, K); `of` is "query" or "key"."""
    mapped = [
        functional.linear(x, p[f"{of}_features{layer}"], p.get(f"{of}_features{layer}_bias"))
        for layer, _ in _LAYERS.get(feature_map, ())
    ]
    match feature_map:
        case "elementwise_product":
            return mapped[0] * mapped[1]
        case "t2r":
            return functional.relu(mapped[0])
        case "hedgehog":
            return torch.cat([2 * mapped[0], -2 * mapped[0]], -1).softmax(-1)
        case "dpfp":
            return _dpfp(x)
        case "elu":
            return functional.elu(x) + 1
        case "relu":
            return functional.relu(x)
        case "identity":
            return x


def _dpfp(x: Tensor) -> Tensor:
    rectified = functional.relu(x)
    r = torch.cat([rectified, -rectified], -1)
    return torch.cat([r * r.roll(j, -1) for j in range(1, _NEIGHBOURS + 1)], -1)
