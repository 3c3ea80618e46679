"""A model of the mamba_ssm library, run by the equations of its mixers.

    r_0 = embedding[tokens]                                       (B, T, E)
    r_l = r_{l-1} + mixer_l(norm_l(r_{l-1}))
    r_l = r_l + W_2 (x silu(g)),  x, g = W_1 norm2_l(r_l)         where blocks have an MLP
    out = norm_f(r_L)

B batch, T tokens, E model width. The norms are root mean square or layer norms. transformers has
such models without attention and MLPs only, and with root mean square norms.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from spectrakit._lazy import lazy_import
from spectrakit.architectures.mamba_ssm_initial import initial_mamba_ssm
from spectrakit.architectures.written_out import (
    ForwardPass,
    WrittenOutModel,
    read_written_out,
)
from spectrakit.dynamics import Contraction, OuterProduct
from spectrakit.mixers import Mamba
from spectrakit.mixers.layers import root_mean_square_norm
from spectrakit.scans import fast_scan

if TYPE_CHECKING:
    import torch
    from torch import Tensor
    from torch.nn import functional

    from spectrakit.architectures.base import Layer
    from spectrakit.architectures.initial_weights import Initial
    from spectrakit.checkpoints import TensorSource
    from spectrakit.mixers import Observation
else:
    torch = lazy_import("torch")
    functional = lazy_import("torch.nn.functional")

_FINAL_NORM = "backbone.norm_f"
#: Roles that stay in float32 at least, as the library keeps them.
_PRECISE = ("A_log", "D", "step_bias")
#: Tokens that the scan of Mamba-2 does at once; in chunks of 256 it takes four times as long.
_CHUNK = 64


@dataclass(frozen=True)
class Backbone:
    """What the config says of everything around the mixers.

    width: E. vocabulary: rows of the embedding. mlp_width: of the MLP in every block; None without.
    layer_norm: whether norms subtract the mean and add a bias. wide_residual: whether the residual
    stream is kept in float32. norm_epsilon: of all norms; the default is the library's, which no
    config of its own states. embedding: its name in the file.
    """

    width: int
    vocabulary: int
    mlp_width: int | None
    layer_norm: bool
    wide_residual: bool
    norm_epsilon: float = 1e-5
    embedding: str = "backbone.embedding.weight"

    def shapes(self, layers: Sequence[Layer]) -> Mapping[str, tuple[int, ...]]:
        """The shape of every tensor outside the mixers, by its name in the file."""
        shapes: dict[str, tuple[int, ...]] = {self.embedding: (self.vocabulary, self.width)}
        norms = [_FINAL_NORM]
        for layer in layers:
            block = _block(layer)
            norms.append(f"{block}.norm")
            if self.mlp_width is not None:
                norms.append(f"{block}.norm2")
                shapes[f"{block}.mlp.fc1.weight"] = (2 * self.mlp_width, self.width)
                shapes[f"{block}.mlp.fc2.weight"] = (self.width, self.mlp_width)
        parts = ("weight", "bias") if self.layer_norm else ("weight",)
        return shapes | {f"{norm}.{part}": (self.width,) for norm in norms for part in parts}


def _block(layer: Layer) -> str:
    return layer.path.removesuffix(".mixer")


class MambaSSMModel(WrittenOutModel):
    """Embedding, blocks of a mixer (and an MLP), and a final norm; the head is not computed."""

    def __init__(
        self,
        layers: Sequence[Layer],
        weights: Mapping[str, Tensor],
        backbone: Backbone,
        initial: Initial | None = None,
    ) -> None:
        """`weights` are by their names in the file; every layer's mixer is one written out."""
        super().__init__(layers, weights, initial)
        self.backbone = backbone

    @property
    def vocabulary_size(self) -> int:
        """Rows of the input embedding."""
        return self.backbone.vocabulary

    def hidden_states(self, tokens: Tensor, passing: ForwardPass) -> Tensor:
        """What the language head would read: (B, T, E)."""
        residual = functional.embedding(tokens, self.weights[self.backbone.embedding])
        if self.backbone.wide_residual:
            residual = residual.to(torch.promote_types(residual.dtype, torch.float32))
        residual = passing.stream(residual)
        for layer in self.layers:
            block = _block(layer)
            residual = residual + passing.mixed(layer, self._norm(residual, f"{block}.norm"))
            if self.backbone.mlp_width is not None:
                residual = residual + self._mlp(residual, block)
            residual = passing.stream(residual)
        return self._norm(residual, _FINAL_NORM)

    def scanned(self, layer: Layer, observation: Observation) -> Tensor:
        """By a scan, which takes many tokens at once."""
        return _scanned(observation, time_last=isinstance(layer.mixer, Mamba))

    def _norm(self, residual: Tensor, name: str) -> Tensor:
        weight = self.weights[f"{name}.weight"]
        wide = residual.to(torch.promote_types(residual.dtype, torch.float32))
        epsilon = self.backbone.norm_epsilon
        if self.backbone.layer_norm:
            bias = self.weights[f"{name}.bias"].to(wide.dtype)
            normed = functional.layer_norm(wide, weight.shape, weight.to(wide.dtype), bias, epsilon)
        else:
            normed = root_mean_square_norm(wide, epsilon) * weight
        return normed.to(weight.dtype)

    def _mlp(self, residual: Tensor, block: str) -> Tensor:
        hidden = self._norm(residual, f"{block}.norm2")
        x, gate = functional.linear(hidden, self.weights[f"{block}.mlp.fc1.weight"]).chunk(2, -1)
        return functional.linear(x * functional.silu(gate), self.weights[f"{block}.mlp.fc2.weight"])


def _scanned(observation: Observation, *, time_last: bool) -> Tensor:
    """The outputs y (B, T, H, P) of a Mamba layer's recurrence."""
    from transformers.models.mamba import modeling_mamba
    from transformers.models.mamba2 import modeling_mamba2

    recurrence, u = observation.recurrence, observation.inputs
    write, read = recurrence.input_map, recurrence.output_map
    assert isinstance(write, OuterProduct)  # noqa: S101  (what both kinds of Mamba have)
    assert isinstance(read, Contraction)  # noqa: S101
    step, generator, d = recurrence.step, recurrence.generator, recurrence.feedthrough
    assert step is not None  # noqa: S101
    assert generator is not None  # noqa: S101
    key, query = write.key, read.query
    y: Tensor
    if time_last:
        key, query = (grouped.squeeze(2).transpose(1, 2) for grouped in (key, query))
        scan = fast_scan("mamba_selective_scan", modeling_mamba.mamba_selective_scan)
        y = scan(u.squeeze(-1).transpose(1, 2), step.transpose(1, 2), generator, key, query, D=d)
        return y.transpose(1, 2).unsqueeze(-1)
    scan = fast_scan("mamba2_chunk_scan", modeling_mamba2.mamba2_chunk_scan)
    y = scan(u, step, generator.squeeze(-1), key, query, _CHUNK, D=d)
    return y


def load_mamba_ssm_model(
    checkpoint: TensorSource, layers: Sequence[Layer], backbone: Backbone, device: str, dtype: str
) -> MambaSSMModel:
    """The model of `layers`, which have been checked, and what is around them.

    Raises MalformedError where the weights are not those of the config, UnsupportedError where a
    layer cannot be read, and so not be run.
    """
    around = backbone.shapes(layers)
    weights = read_written_out(checkpoint, layers, around, device, dtype, precise=_PRECISE)
    return MambaSSMModel(layers, weights, backbone, initial_mamba_ssm(checkpoint))
