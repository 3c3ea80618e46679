"""The models that are trained here: one backbone, any mixer, two heads.

    x = embedding(ids), or W values                  plus positions, where they are absolute
    x = block(x) ...
    logits = W norm(x), or W pooled(norm(x)) of a classifier

They are models of transformers: `save_pretrained`, `from_pretrained`, `generate` (which computes
the whole sequence anew for each token: there is no cache).
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import torch
from torch import nn
from transformers import (
    AutoConfig,
    AutoModel,
    AutoModelForCausalLM,
    AutoModelForSequenceClassification,
    GenerationMixin,
    PreTrainedModel,
)
from transformers.modeling_outputs import (
    BaseModelOutput,
    CausalLMOutput,
    SequenceClassifierOutput,
)

from spectrakit.errors import UnsupportedError, UsageError
from spectrakit.training.models.blocks import Block, norm_of
from spectrakit.training.models.checked import check_config
from spectrakit.training.models.config import SpectrakitConfig
from spectrakit.training.models.losses import summed_loss
from spectrakit.training.models.mixer_module import MixerModule, is_recurrence

if TYPE_CHECKING:
    from torch import Tensor


class SpectrakitPreTrainedModel(PreTrainedModel):
    """What the models below share."""

    config_class = SpectrakitConfig
    base_model_prefix = "model"
    _no_split_modules = ["Block"]  # noqa: RUF012
    supports_gradient_checkpointing = False

    def _init_weights(self, module: nn.Module) -> None:
        own = list(module.parameters(recurse=False))
        if own and all(getattr(p, "_is_hf_initialized", False) for p in own):
            return  # read from a file
        if isinstance(module, nn.Embedding):
            module.weight.data.normal_(std=0.02)
        elif (reset := getattr(module, "reset_parameters", None)) is not None:
            reset()

    def keep_recurrences_wide(self) -> None:
        """Have `from_pretrained` leave the recurrences' parameters in float32, whatever dtype."""
        names = {n.rpartition(".")[2] for n, p in self.named_parameters() if is_recurrence(p)}
        self._keep_in_fp32_modules_strict = sorted(names)


class SpectrakitModel(SpectrakitPreTrainedModel):
    """The backbone; see the module."""

    def __init__(self, config: SpectrakitConfig) -> None:
        super().__init__(config)
        check_config(config)
        width = config.hidden_size
        if config.inputs == "tokens":
            self.embeddings: nn.Module = nn.Embedding(config.vocab_size, width)
        else:
            self.embeddings = nn.Linear(config.channels, width)
        absolute = config.positions == "absolute"
        count = config.max_position_embeddings
        self.positions = nn.Embedding(count, width) if absolute else None
        self.blocks = nn.ModuleList(Block(config, i) for i in range(config.num_hidden_layers))
        self.norm = norm_of(config)
        self.keep_recurrences_wide()
        self.post_init()  # type: ignore[no-untyped-call]

    def get_input_embeddings(self) -> nn.Module:
        """What tokens, or values, go through first."""
        return self.embeddings

    def set_input_embeddings(self, value: nn.Module) -> None:
        """Replace it."""
        self.embeddings = value

    def forward(
        self,
        input_ids: Tensor,
        attention_mask: Tensor | None = None,
        example_keys: Tensor | None = None,
        **_: Any,  # noqa: ANN401  (what `generate` hands every model)
    ) -> BaseModelOutput:
        """The normed residual stream after the last block, (B, T, E).

        input_ids: (B, T) int64, or (B, T, C) values. attention_mask: (B, T), 0 on padding, which
        may only come after a sequence. example_keys: (B,) int64, which dropout is a function of.

        Raises UnsupportedError for padding before a sequence, UsageError for sequences longer than
        the positions that were learned.
        """
        lengths = lengths_of(attention_mask)
        x = self._entered(input_ids)
        for block in self.blocks:
            x = block(x, lengths, example_keys)
        return BaseModelOutput(last_hidden_state=self.norm(x))

    def _entered(self, ids: Tensor) -> Tensor:
        config = self.config
        if config.inputs == "tokens":
            x: Tensor = self.embeddings(ids)
        else:
            values = ids if ids.dim() == 3 else ids.unsqueeze(-1)
            dtype = self.embeddings.get_parameter("weight").dtype
            x = self.embeddings(values.to(dtype) * (2 / (config.vocab_size - 1)) - 1)
        if self.positions is not None:
            tokens = x.shape[1]
            if tokens > config.max_position_embeddings:
                message = f"a sequence of {tokens} tokens"
                hint = f"{config.max_position_embeddings} at most: so many positions were learned"
                raise UsageError(message, hint=hint)
            x = x + self.positions.weight[:tokens]
        return x


class SpectrakitForCausalLM(SpectrakitPreTrainedModel, GenerationMixin):
    """With a language head: scores of every token at every position."""

    _tied_weights_keys = {"lm_head.weight": "model.embeddings.weight"}  # noqa: RUF012

    def __init__(self, config: SpectrakitConfig) -> None:
        super().__init__(config)
        self.model = SpectrakitModel(config)
        self.lm_head = nn.Linear(config.hidden_size, config.vocab_size, bias=False)
        self.keep_recurrences_wide()
        self.post_init()  # type: ignore[no-untyped-call]

    def get_output_embeddings(self) -> nn.Module:
        """The head."""
        head: nn.Module = self.lm_head
        return head

    def forward(
        self,
        input_ids: Tensor,
        attention_mask: Tensor | None = None,
        labels: Tensor | None = None,
        example_keys: Tensor | None = None,
        logits_to_keep: int = 0,
        **_: Any,  # noqa: ANN401  (what `generate` hands every model)
    ) -> CausalLMOutput:
        """Logits (B, T, V), and the mean loss where there are labels.

        labels: (B, T), what each position is to say, -100 where nothing: not shifted here.
        logits_to_keep: how many of the last positions are wanted; 0 for all. The rest as
        `SpectrakitModel`.
        """
        hidden = self.model(input_ids, attention_mask, example_keys).last_hidden_state
        logits = self.lm_head(hidden[:, -logits_to_keep:] if logits_to_keep else hidden)
        return CausalLMOutput(loss=_mean_loss(logits, labels), logits=logits)


class SpectrakitForSequenceClassification(SpectrakitPreTrainedModel):
    """With a classifier over the pooled sequence."""

    def __init__(self, config: SpectrakitConfig) -> None:
        super().__init__(config)
        self.model = SpectrakitModel(config)
        self.score = nn.Linear(config.hidden_size, config.num_labels or 1)
        self.keep_recurrences_wide()
        self.post_init()  # type: ignore[no-untyped-call]

    def get_output_embeddings(self) -> None:
        """None: a classifier continues no text."""

    def forward(
        self,
        input_ids: Tensor,
        attention_mask: Tensor | None = None,
        labels: Tensor | None = None,
        example_keys: Tensor | None = None,
        **_: Any,  # noqa: ANN401  (what callers hand every model)
    ) -> SequenceClassifierOutput:
        """Logits (B, classes), and the mean loss where there are labels (B,)."""
        hidden = self.model(input_ids, attention_mask, example_keys).last_hidden_state
        logits = self.score(pooled(hidden, lengths_of(attention_mask), self.config.pooling))
        return SequenceClassifierOutput(loss=_mean_loss(logits, labels), logits=logits)


def pooled(hidden: Tensor, lengths: Tensor | None, how: str) -> Tensor:
    """(B, E) from (B, T, E): the mean of a sequence's tokens, or its last."""
    if lengths is None:
        return hidden.mean(1) if how == "mean" else hidden[:, -1]
    if how == "last":
        return hidden[torch.arange(len(hidden), device=hidden.device), lengths - 1]
    positions = torch.arange(hidden.shape[1], device=hidden.device)
    inside = positions < lengths.unsqueeze(-1)
    return (hidden * inside.unsqueeze(-1)).sum(1) / lengths.unsqueeze(-1)


def lengths_of(attention_mask: Tensor | None) -> Tensor | None:
    """Tokens of each sequence (B,); None where nothing is padded.

    Raises UnsupportedError for padding that comes before, or within, a sequence.
    """
    if attention_mask is None or bool(attention_mask.all()):
        return None
    mask = attention_mask.bool()
    if not bool((mask[:, :-1] >= mask[:, 1:]).all()):
        message = "padding before or within a sequence, whose state would remember it"
        raise UnsupportedError(message, hint='pad after the sequence: padding_side = "right"')
    return mask.sum(1)


def _mean_loss(logits: Tensor, labels: Tensor | None) -> Tensor | None:
    if labels is None:
        return None
    total, count = summed_loss(logits, labels)
    return total / count.clamp(min=1)


def model_of(config: SpectrakitConfig) -> PreTrainedModel:
    """The model that `config` describes, with the head it names, its weights drawn by torch."""
    model: PreTrainedModel = kind_of(config)(config)
    freeze(model, config.frozen or ())
    return model


def kind_of(config: SpectrakitConfig) -> type[PreTrainedModel]:
    """The class of the model that `config` describes."""
    if config.head == "language":
        return SpectrakitForCausalLM
    return SpectrakitForSequenceClassification


def freeze(model: nn.Module, groups: Iterable[str]) -> None:
    """Take parameters out of training: "eigenvalues", what the recurrences' eigenvalues come from.

    Raises UsageError for an unknown group, and where there is no such parameter.
    """
    for group in groups:
        if group != "eigenvalues":
            message = f"unknown group of parameters {group!r} to freeze"
            raise UsageError(message, hint='frozen = ["eigenvalues"]')
        mixers = [module for module in model.modules() if isinstance(module, MixerModule)]
        found = [getattr(m, role, None) for m in mixers for role in m.eigenvalue_roles]
        parameters = [parameter for parameter in found if parameter is not None]
        if not parameters:
            message = "this mixer has no parameters of its own for its eigenvalues"
            raise UsageError(message, hint="leave frozen out")
        for parameter in parameters:
            parameter.requires_grad_(False)


AutoConfig.register(SpectrakitConfig.model_type, SpectrakitConfig, exist_ok=True)
AutoModel.register(SpectrakitConfig, SpectrakitModel, exist_ok=True)
AutoModelForCausalLM.register(SpectrakitConfig, SpectrakitForCausalLM, exist_ok=True)
AutoModelForSequenceClassification.register(
    SpectrakitConfig, SpectrakitForSequenceClassification, exist_ok=True
)
