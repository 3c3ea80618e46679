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
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from spectrakit._lazy import lazy_import
from spectrakit.architectures.transformers_model import quiet_transformers
from spectrakit.dynamics import Contraction, OuterProduct
from spectrakit.errors import MalformedError, UnsupportedError
from spectrakit.mixers import Mamba
from spectrakit.mixers.layers import root_mean_square_norm
from spectrakit.scans import fast_scan

if TYPE_CHECKING:
    import torch
    from torch import Tensor
    from torch.nn import functional

    from spectrakit.architectures.base import Layer, LayerSeen
    from spectrakit.checkpoints import Checkpoint
    from spectrakit.mixers import Observation
    from spectrakit.mixers.base import WrittenOutMixer
else:
    torch = lazy_import("torch")
    functional = lazy_import("torch.nn.functional")

_BACKBONE = "backbone."
_EMBEDDING = _BACKBONE + "embedding.weight"
_FINAL_NORM = _BACKBONE + "norm_f"
#: Of all norms; the library's default, which no config states.
_NORM_EPSILON = 1e-5
#: Roles that stay in float32 at least, as the library keeps them.
_PRECISE = ("A_log", "D", "step_bias")
#: Tokens that the scan of Mamba-2 does at once; in chunks of 256 it takes four times as long.
_CHUNK = 64


@dataclass(frozen=True)
class Backbone:
    """What the config says of everything around the mixers.

    width: E. vocabulary: rows of the embedding. mlp_width: of the MLP in every block; None without.
    layer_norm: whether norms subtract the mean and add a bias. wide_residual: whether the residual
    stream is kept in float32.
    """

    width: int
    vocabulary: int
    mlp_width: int | None
    layer_norm: bool
    wide_residual: bool

    def shapes(self, layers: Sequence[Layer]) -> Mapping[str, tuple[int, ...]]:
        """The shape of every tensor outside the mixers, by its name in the file."""
        shapes: dict[str, tuple[int, ...]] = {_EMBEDDING: (self.vocabulary, self.width)}
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


class MambaSSMModel:
    """Embedding, blocks of a mixer (and an MLP), and a final norm; the head is not computed."""

    def __init__(
        self, layers: Sequence[Layer], weights: Mapping[str, Tensor], backbone: Backbone
    ) -> None:
        """`weights` are by their names in the file; every layer's mixer is one written out."""
        self.layers = tuple(layers)
        self.weights = weights
        self.backbone = backbone

    @property
    def vocabulary_size(self) -> int:
        """Rows of the input embedding."""
        return self.backbone.vocabulary

    def run(
        self, tokens: Tensor, on_layer: LayerSeen | None = None, valid: Tensor | None = None
    ) -> None:
        """One forward pass over token ids (B, T); the language head is not computed.

        Raises UnsupportedError where `valid` has padding before a text: the library knows none.
        """
        if valid is not None and not bool((valid[:, :-1] >= valid[:, 1:]).all()):
            message = "models of mamba_ssm take no padding before the text"
            raise UnsupportedError(message, hint="pad after the text, or run texts one by one")
        self.hidden_states(tokens, on_layer)

    def hidden_states(self, tokens: Tensor, on_layer: LayerSeen | None = None) -> Tensor:
        """What the language head would read: (B, T, E)."""
        with torch.no_grad(), quiet_transformers():  # whose scans give advice
            embedding = self.weights[_EMBEDDING]
            residual = functional.embedding(tokens.to(embedding.device), embedding)
            if self.backbone.wide_residual:
                residual = residual.to(torch.promote_types(residual.dtype, torch.float32))
            for layer in self.layers:
                block = _block(layer)
                observation, output = self._mixed(layer, self._norm(residual, f"{block}.norm"))
                if on_layer is not None:
                    on_layer(layer, observation)
                residual = residual + output
                if self.backbone.mlp_width is not None:
                    residual = residual + self._mlp(residual, block)
            return self._norm(residual, _FINAL_NORM)

    def _mixed(self, layer: Layer, hidden: Tensor) -> tuple[Observation, Tensor]:
        """The layer on its input (B, T, E), and its output."""
        p = {
            role: self.weights[name]
            for role, name in layer.parameters.items()
            if name in self.weights
        }
        mixer: WrittenOutMixer = layer.mixer  # type: ignore[assignment]
        observation = mixer.from_input(hidden, p)
        if observation.outputs is not None:
            return observation, observation.outputs
        y = _scanned(observation, time_last=isinstance(mixer, Mamba))
        assert observation.finish is not None  # noqa: S101  (a mixer from its input has its output)
        output = observation.finish(y.to(observation.inputs.dtype))
        return replace(observation, outputs=output), output

    def _norm(self, residual: Tensor, name: str) -> Tensor:
        weight = self.weights[f"{name}.weight"]
        wide = residual.to(torch.promote_types(residual.dtype, torch.float32))
        if self.backbone.layer_norm:
            bias = self.weights[f"{name}.bias"].to(wide.dtype)
            normed = functional.layer_norm(
                wide, weight.shape, weight.to(wide.dtype), bias, _NORM_EPSILON
            )
        else:
            normed = root_mean_square_norm(wide, _NORM_EPSILON) * weight
        return normed.to(weight.dtype)

    def _mlp(self, residual: Tensor, block: str) -> Tensor:
        hidden = self._norm(residual, f"{block}.norm2")
        x, gate = functional.linear(hidden, self.weights[f"{block}.mlp.fc1.weight"]).chunk(2, -1)
        return functional.linear(x * functional.silu(gate), self.weights[f"{block}.mlp.fc2.weight"])


def _scanned(observation: Observation, *, time_last: bool) -> Tensor:
    """The outputs y (B, T, H, P) of a Mamba layer's recurrence, by a scan.

    Scans take many tokens at once, where the recurrence takes one after the other.
    """
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
    checkpoint: Checkpoint, layers: Sequence[Layer], backbone: Backbone, device: str, dtype: str
) -> MambaSSMModel:
    """The model of `layers`, which have been checked, and what is around them.

    Raises MalformedError where the weights are not those of the config.
    """
    local = checkpoint.localize()
    around = backbone.shapes(layers)
    _check(local, layers, around)
    narrow = getattr(torch, dtype)
    wide = torch.promote_types(narrow, torch.float32)
    dtypes = dict.fromkeys(around, narrow)
    for layer in layers:
        for role in () if layer.mixer is None else layer.mixer.shapes():
            dtypes[layer.parameters[role]] = wide if role in _PRECISE else narrow
    weights = {name: w.to(device, dtypes[name]) for name, w in local.read(dtypes).items()}
    return MambaSSMModel(layers, weights, backbone)


def _check(
    checkpoint: Checkpoint, layers: Sequence[Layer], around: Mapping[str, tuple[int, ...]]
) -> None:
    """Raise MalformedError unless the file has just the tensors of the mixers and `around`."""
    present = {name for name in checkpoint.tensors if not name.startswith("lm_head.")}
    mixers = {layer.parameters[r] for layer in layers if layer.mixer for r in layer.mixer.shapes()}
    misshapen = {
        name for name in present & around.keys() if checkpoint.tensors[name].shape != around[name]
    }
    for names, says in (
        (around.keys() - present, "the weights lack"),
        (misshapen, "the weights have another shape of"),
        (present - around.keys() - mixers, "the model has no place for"),
    ):
        if names:
            message = f"{checkpoint.model_id}: {says} {', '.join(sorted(names)[:3])}"
            raise MalformedError(message, hint="is this config.json the one of these weights?")
