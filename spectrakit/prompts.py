"""Prompts run through a model: the states at their last tokens, and which answer it would choose.

Unlike the tokens of a text, prompts are read one by one, from an empty state to their own end. They
are padded behind, which no token before the padding sees.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from spectrakit._lazy import lazy_import
from spectrakit.errors import UsageError
from spectrakit.tokens import padded
from spectrakit.wording import given

if TYPE_CHECKING:
    import numpy as np
    import torch
    from torch import Tensor

    from spectrakit.architectures.base import LanguageModel, RunnableModel
    from spectrakit.progress import Progress
    from spectrakit.prompt_sets import Prompt
else:
    np = lazy_import("numpy")
    torch = lazy_import("torch")


@dataclass(frozen=True)
class PromptRunner:
    """Runs prompts through `model`, `batch_size` at once; `encode` makes token ids of a text.

    encode_prompt: the same of a prompt with what stands around it; None for the prompt alone.
    """

    model: RunnableModel | LanguageModel
    encode: Callable[[str], Sequence[int]]
    batch_size: int
    progress: Progress
    encode_prompt: Callable[[str], Sequence[int]] | None = None

    def check_lengths(
        self, prompts: Sequence[Prompt], hint: Callable[[], str] = lambda: "shorter prompts"
    ) -> None:
        """Raise UsageError where a prompt and its answer are longer than the model can take.

        hint: what to try then; asked for only where it is needed.
        """
        if getattr(self.model, "most_tokens", None) is not None:
            longest = max(len(self._prompt(p.text)) + len(self._tokens(p.answer)) for p in prompts)
            self._check_length(longest, hint)

    def last_states(self, prompts: Sequence[Prompt]) -> Iterator[tuple[list[int], list[Tensor]]]:
        """The residual stream at each prompt's last token, batch by batch.

        Yields the indices of the prompts, and at every depth their states (B, E), in the dtype of
        the forward pass.

        Raises UsageError where a prompt and its answer are longer than the model can take, or have
        tokens that it does not know.
        """
        rows = [self._prompt(prompt.text) for prompt in prompts]
        answers = [self._tokens(prompt.answer) for prompt in prompts]
        self._check_length(max(len(r) + len(a) for r, a in zip(rows, answers, strict=True)))
        for indices in self._batches(len(prompts), "reading prompts"):
            batch = padded([rows[index] for index in indices], self.model.vocabulary_size)
            ends = torch.from_numpy(batch.valid.sum(1) - 1)
            states: list[Tensor] = []
            mask = torch.from_numpy(batch.valid) if self._bidirectional else None
            self.model.run(
                torch.from_numpy(batch.ids), valid=mask, on_states=_keeping(states, ends)
            )
            yield indices, states

    def choices(self, prompts: Sequence[Prompt]) -> list[bool | None] | None:
        """Whether the model chooses each prompt's answer among its candidates, token by token.

        Greedy decoding that may write a candidate and nothing else: wherever candidates that begin
        alike go on differently, the likeliest token is taken. It ends at the right answer if the
        right token is the likeliest at every such branching of it, which one forward pass over the
        prompt and its answer tells. A tie is no choice. None for a prompt with nothing to choose
        from; None altogether where the model has no language head.

        Raises as `last_states`.
        """
        if not hasattr(self.model, "logits"):
            return None
        found: list[bool | None] = [None] * len(prompts)
        questions = [self._question(prompt) for prompt in prompts]
        self._check_length(max(len(question.tokens) for question in questions))
        asked = [index for index, question in enumerate(questions) if question.rivals]
        for indices in self._batches(len(asked), "letting the model answer"):
            batch = [questions[asked[index]] for index in indices]
            tokens = padded([q.tokens for q in batch], self.model.vocabulary_size)
            places = torch.zeros(len(batch), max(len(q.rivals) for q in batch), dtype=torch.long)
            for row, question in enumerate(batch):
                places[row, : len(question.rivals)] = torch.tensor(list(question.rivals))
            scores = self.model.logits(torch.from_numpy(tokens.ids), places)
            if scores is None:
                return None
            for row, index in enumerate(indices):
                found[asked[index]] = batch[row].chosen(scores[row])
        return found

    @property
    def _bidirectional(self) -> bool:
        """Whether the prompts' tokens see padding behind them, unless it is masked."""
        return getattr(self.model, "bidirectional", False)

    def _check_length(
        self, longest: int, hint: Callable[[], str] = lambda: "shorter prompts"
    ) -> None:
        most = getattr(self.model, "most_tokens", None)
        if most is not None and longest > most:
            message = (
                f"a prompt and its answer have {longest:,} tokens, the model takes {most:,} at most"
            )
            raise UsageError(message, hint=hint())

    def _question(self, prompt: Prompt) -> _Question:
        begin, answer = self._prompt(prompt.text), self._tokens(prompt.answer)
        others = [self._tokens(other).tolist() for other in prompt.others]
        at = branchings(answer.tolist(), others)
        rivals = {len(begin) + step - 1: tokens for step, tokens in at.items()}
        return _Question(np.concatenate([begin, answer]), rivals)

    def _prompt(self, text: str) -> np.ndarray:
        return self._tokens(text, self.encode_prompt or self.encode)

    def _tokens(
        self, text: str, encode: Callable[[str], Sequence[int]] | None = None
    ) -> np.ndarray:
        tokens = np.array(list((encode or self.encode)(text)), np.int64)
        if not tokens.size:
            message = f"the tokenizer makes no tokens of {text[:20]!r}"
            raise UsageError(message, hint=given(tokenizer="NAME"))
        return tokens

    def _batches(self, count: int, doing: str) -> Iterator[list[int]]:
        with self.progress.task(doing, total=count, unit="prompt") as task:
            for begin in range(0, count, self.batch_size):
                indices = list(range(begin, min(begin + self.batch_size, count)))
                yield indices
                task.advance(len(indices))


@dataclass(frozen=True)
class _Question:
    """A prompt and its answer; rivals: by place, the tokens that a wrong answer has behind it."""

    tokens: np.ndarray
    rivals: Mapping[int, set[int]]

    def chosen(self, scores: Tensor) -> bool:
        """Whether the right token has the highest of the scores (K, V) at every place."""
        for at, (place, wrong) in zip(scores.float().cpu(), self.rivals.items(), strict=False):
            right = at[int(self.tokens[place + 1])]
            if not bool((right > at[sorted(wrong)]).all()):
                return False
        return True


def branchings(answer: Sequence[int], others: Sequence[Sequence[int]]) -> dict[int, set[int]]:
    """Where candidates that begin like the answer go on otherwise: the tokens there, by step.

    A candidate that ends where the answer goes on, or is the same, never goes on otherwise.
    """
    found: dict[int, set[int]] = {}
    left = list(others)
    for step, right in enumerate(answer):
        left = [other for other in left if len(other) > step]
        if wrong := {other[step] for other in left} - {right}:
            found[step] = wrong
        left = [other for other in left if other[step] == right]
    return found


def _keeping(states: list[Tensor], ends: Tensor) -> Callable[[int, Tensor], None]:
    def on_states(_: int, stream: Tensor) -> None:
        rows = torch.arange(len(ends), device=stream.device)
        states.append(stream[rows, ends.to(stream.device)])

    return on_states
