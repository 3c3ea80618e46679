"""Softmax attention's log-normaliser: what seeing it costs, and what materialising it would."""

from __future__ import annotations

import statistics
import tempfile
from collections.abc import Iterator
from pathlib import Path

import torch

import spectrakit as sk
from benchmarks.checkpoints import Checkpoints
from benchmarks.measure import Row, in_turns, python, ratio, run_process, timed
from spectrakit.architectures.transformers_model import quiet_transformers
from spectrakit.mixers.attention_scores import Scores
from spectrakit.mixers.log_normaliser import attend

TOKENS, HEADS, WIDTH = 4096, 12, 64

#: A process with queries, keys and values, to which one way to the log-normaliser is added.
_LAYER = "from benchmarks.attention import *\nquery, key, value = layer()\n"
#: A process with a model, to which a forward pass is added.
_MODEL = "from benchmarks.attention import *\nrunnable = loaded({!r})\ntokens = text({})\n"


def rows(_: Checkpoints) -> Iterator[Row]:
    shape = f"{TOKENS} tokens, {HEADS} heads of {WIDTH}"
    query, key, value = layer()
    slow, fast = in_turns(
        lambda: timed(lambda: materialised(query, key)),
        lambda: timed(lambda: captured(query, key, value)),
    )
    figure = ratio(slow, fast)
    what = f"log-normaliser and output, {shape}, against materialising the scores"
    yield Row(what, f"{figure:.0f}x faster", ">= 5x", figure >= 5)
    without, ours, theirs = (
        _peak(_LAYER + work)
        for work in ("", "captured(query, key, value)", "materialised(query, key)")
    )
    figure = (theirs - without) / (ours - without)
    yield Row("its extra memory", f"{figure:.0f}x less", ">= 20x", figure >= 20)
    with tempfile.TemporaryDirectory() as scratch:
        folder = write(Path(scratch) / "model")
        runnable, tokens = loaded(str(folder)), text(TOKENS)
        seen, plain = in_turns(
            lambda: timed(lambda: runnable.run(tokens, lambda *_: None)),
            lambda: timed(lambda: forward(runnable, tokens)),
        )
        figure = ratio(seen, plain)
        what = f"forward pass with capture, {shape}, over the same with sdpa"
        yield Row(what, f"{figure:.2f}", "<= 1.15", figure <= 1.15)
        few, many = (_added(folder, tokens) for tokens in (TOKENS, 4 * TOKENS))
        what = f"memory the capture adds, {TOKENS} and {4 * TOKENS} tokens"
        shown = f"{few / 1e6:.0f} MB, {many / 1e6:.0f} MB"
        # A T x T matrix of one head of the longer text would be 1 GB.
        yield Row(what, shown, "linear in tokens", many < 4 * max(few, 20e6))


def layer() -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Queries, keys and values (1, H, T, K), laid out as models lay them out."""
    generator = torch.Generator().manual_seed(0)
    packed = torch.randn(3, 1, TOKENS, HEADS, WIDTH, generator=generator)
    query, key, value = packed.transpose(2, 3)
    return query, key, value


def captured(query: torch.Tensor, key: torch.Tensor, value: torch.Tensor) -> object:
    return attend(Scores(query, key, WIDTH**-0.5), value)


def materialised(query: torch.Tensor, key: torch.Tensor) -> torch.Tensor:
    """The log-normaliser alone, from all pairs of tokens."""
    scores = query @ key.transpose(-1, -2) * WIDTH**-0.5
    later = torch.ones(TOKENS, TOKENS, dtype=torch.bool).triu(1)
    return scores.masked_fill(later, -torch.inf).logsumexp(-1)


def write(folder: Path) -> Path:
    """A Llama of the width of GPT-2, four blocks deep."""
    from transformers import LlamaConfig, LlamaForCausalLM

    config = LlamaConfig(
        vocab_size=256,
        hidden_size=HEADS * WIDTH,
        intermediate_size=4 * HEADS * WIDTH,
        num_hidden_layers=4,
        num_attention_heads=HEADS,
        max_position_embeddings=1 << 16,
    )
    with quiet_transformers():
        LlamaForCausalLM(config).save_pretrained(folder)
    return folder


def loaded(folder: str):
    with sk.open_checkpoint(folder) as model:
        return model.architecture.load(model.checkpoint, "cpu")


def text(tokens: int) -> torch.Tensor:
    return torch.randint(256, (1, tokens), generator=torch.Generator().manual_seed(0))


def forward(runnable, tokens: torch.Tensor) -> None:
    """The same forward pass, unwatched."""
    with torch.no_grad():
        runnable.model.base_model(input_ids=tokens, use_cache=False)


def _added(folder: Path, tokens: int) -> float:
    setup = _MODEL.format(str(folder), tokens)
    watched = _peak(setup + "runnable.run(tokens, lambda *_: None)")
    return watched - _peak(setup + "forward(runnable, tokens)")


def _peak(code: str) -> float:
    return statistics.median(run_process(python(code)).peak_bytes for _ in range(3))
