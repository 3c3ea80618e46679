"""Train the bundled tiny checkpoints: byte-level language models on tiny Shakespeare, on the CPU.

    python catalog/checkpoints/train_tiny.py tiny-mamba
    python catalog/checkpoints/train_tiny.py tiny-mamba2
    python catalog/checkpoints/train_tiny.py tiny-llama

Each run writes a transformers folder (config.json, model.safetensors, tokenizer.json) and
`training_log.csv`, the losses it printed, beside this script. The text is split 90 % / 10 %; the
validation loss is over the whole of the last tenth, in nats a byte. On two cores the Mamba takes
about a quarter of an hour, the Mamba-2 about two minutes and the attention model about ten.
"""

import argparse
import csv
import lzma
import math
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import (
    LlamaConfig,
    LlamaForCausalLM,
    Mamba2Config,
    Mamba2ForCausalLM,
    MambaConfig,
    MambaForCausalLM,
)

HERE = Path(__file__).resolve().parent
TEXT = HERE.parent / "texts" / "tiny-shakespeare.txt.xz"
WARMUP, SEED = 40, 0
EVALUATIONS = 10


@dataclass(frozen=True)
class Schedule:
    """How long a model is trained, what it sees in a step, and how fast it learns at most."""

    steps: int = 500
    size: int = 16
    length: int = 96
    peak_rate: float = 5e-3


SCHEDULES = {
    "tiny-mamba": Schedule(),
    "tiny-mamba2": Schedule(),
    # Attention does not reach beyond the positions that it was trained on: longer sequences.
    "tiny-llama": Schedule(steps=2000, size=4, length=512, peak_rate=3e-3),
}


def build(name: str) -> torch.nn.Module:
    """The model `name` at its initial weights: 3 layers of width 96 over 256 byte values."""
    shared = dict(
        vocab_size=256, hidden_size=96, num_hidden_layers=3, tie_word_embeddings=True,
        bos_token_id=None, eos_token_id=None, pad_token_id=None, use_cache=False,
    )  # fmt: skip
    if name == "tiny-mamba":
        return MambaForCausalLM(MambaConfig(state_size=16, expand=2, **shared))
    if name == "tiny-llama":
        return LlamaForCausalLM(
            LlamaConfig(
                intermediate_size=192, num_attention_heads=6, num_key_value_heads=6,
                max_position_embeddings=SCHEDULES[name].length, **shared,
            )
        )  # fmt: skip
    return Mamba2ForCausalLM(
        Mamba2Config(
            state_size=32, num_heads=12, head_dim=16, n_groups=1, chunk_size=64, expand=2, **shared
        )
    )


def byte_tokenizer() -> Tokenizer:
    """A tokenizer whose ids are byte values: byte-level BPE with no merges."""
    # The byte-level alphabet maps a byte to a printable character: itself where printable,
    # otherwise the next free code point from 256 on, in byte order.
    printable = [*range(33, 127), *range(161, 173), *range(174, 256)]
    others = [byte for byte in range(256) if byte not in printable]
    characters = {byte: chr(byte) for byte in printable}
    characters |= {byte: chr(256 + position) for position, byte in enumerate(others)}
    vocabulary = {characters[byte]: byte for byte in range(256)}
    tokenizer = Tokenizer(models.BPE(vocab=vocabulary, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    tokenizer.decoder = decoders.ByteLevel()
    return tokenizer


def windows(data: torch.Tensor, schedule: Schedule) -> Iterator[torch.Tensor]:
    generator = torch.Generator().manual_seed(SEED)
    while True:
        starts = torch.randint(
            len(data) - schedule.length - 1, (schedule.size,), generator=generator
        )
        yield torch.stack([data[start : start + schedule.length + 1] for start in starts])


def loss_of(model: torch.nn.Module, batch: torch.Tensor) -> torch.Tensor:
    logits = model(batch[:, :-1]).logits
    return torch.nn.functional.cross_entropy(logits.flatten(0, 1).float(), batch[:, 1:].flatten())


@torch.no_grad()
def validation_loss(model: torch.nn.Module, data: torch.Tensor) -> float:
    """Mean nats a byte over `data` in windows of 256 bytes, each starting from an empty state."""
    length, total, count = 256, 0.0, 0
    rows = data[: len(data) // (length + 1) * (length + 1)].view(-1, length + 1)
    for batch in rows.split(32):
        total += float(loss_of(model, batch)) * len(batch)
        count += len(batch)
    return total / count


def parameter_groups(model: torch.nn.Module) -> list[dict]:
    """Weight decay on matrices only: never on A_log, D, biases and norms."""
    decayed = [p for n, p in model.named_parameters() if p.ndim >= 2 and "A_log" not in n]
    others = [p for n, p in model.named_parameters() if p.ndim < 2 or "A_log" in n]
    return [{"params": decayed, "weight_decay": 0.1}, {"params": others, "weight_decay": 0.0}]


def learning_rate(step: int, steps: int) -> float:
    if step < WARMUP:
        return (step + 1) / WARMUP
    return 0.02 + 0.98 * 0.5 * (1 + math.cos(math.pi * (step - WARMUP) / (steps - WARMUP)))


def train(name: str) -> None:
    torch.manual_seed(SEED)
    text = torch.frombuffer(bytearray(lzma.decompress(TEXT.read_bytes())), dtype=torch.uint8).long()
    split = len(text) * 9 // 10
    model, plan = build(name), SCHEDULES[name]
    optimizer = torch.optim.AdamW(parameter_groups(model), lr=plan.peak_rate, betas=(0.9, 0.95))
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimizer, lambda step: learning_rate(step, plan.steps)
    )
    batches = windows(text[:split], plan)

    folder = HERE / name
    folder.mkdir(exist_ok=True)
    with (folder / "training_log.csv").open("w", newline="") as file:
        log = csv.writer(file)
        log.writerow(["step", "train_nats_per_byte", "validation_nats_per_byte", "seconds"])
        began, running = time.monotonic(), []
        for step in range(1, plan.steps + 1):
            model.train()
            loss = loss_of(model, next(batches))
            optimizer.zero_grad()
            loss.backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            schedule.step()
            running.append(loss.item())
            if step % (plan.steps // EVALUATIONS) == 0:
                model.eval()
                row = [
                    step,
                    round(sum(running) / len(running), 4),
                    round(validation_loss(model, text[split:]), 4),
                    round(time.monotonic() - began),
                ]
                running = []
                log.writerow(row)
                file.flush()
                print(name, *row, flush=True)

    model.save_pretrained(folder)
    (folder / "generation_config.json").unlink(missing_ok=True)
    byte_tokenizer().save(str(folder / "tokenizer.json"))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("name", choices=SCHEDULES)
    train(parser.parse_args().name)
