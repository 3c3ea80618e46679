"""A running encoder: hidden states at every depth, and no recurrence."""

from __future__ import annotations

from contextlib import ExitStack, nullcontext
from typing import TYPE_CHECKING, Any, ClassVar

from spectrakit._lazy import lazy_import
from spectrakit.architectures.residual_stream import stream_watched
from spectrakit.architectures.transformers_model import TransformersModel

if TYPE_CHECKING:
    import torch
    from torch import Tensor, nn

    from spectrakit.architectures.base import LayerSeen, StatesSeen
    from spectrakit.architectures.transformers_model import Around
else:
    torch = lazy_import("torch")


class EncoderModel(TransformersModel):
    """An encoder of transformers, whose tokens see all others: padding has to be masked."""

    bidirectional: ClassVar[bool] = True

    def __init__(
        self,
        model: nn.Module,
        layer_path: str,
        *,
        body: nn.Module | None = None,
        around: Around = nullcontext,
    ) -> None:
        """layer_path: the module of any layer inside a block; for the others see its base class."""
        super().__init__(model, [], {}, body=body, around=around)
        self._layer_path = layer_path

    def run(
        self,
        tokens: Tensor,
        on_layer: LayerSeen | None = None,  # noqa: ARG002  (no layer is read)
        valid: Tensor | None = None,
        on_states: StatesSeen | None = None,
    ) -> None:
        """See `RunnableModel.run`; `on_layer` is never called."""
        device = next(self.model.parameters()).device
        mask = None if valid is None else valid.to(device).long()
        with ExitStack() as stack:
            stack.enter_context(self.around())
            if on_states is not None:
                stack.enter_context(stream_watched(self.model, self._layer_path, on_states))
            self._forward(tokens.to(device), mask)

    def logits(self, tokens: Tensor, places: Tensor) -> Tensor | None:  # noqa: ARG002
        """None: an encoder continues no text."""
        return None

    def _body(self, tokens: Tensor, mask: Tensor | None) -> Any:  # noqa: ANN401
        body: Any = self.body
        return body(input_ids=tokens, attention_mask=mask)
