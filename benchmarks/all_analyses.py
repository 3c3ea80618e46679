"""All analyses in one forward pass, against a forward pass that nothing looks at."""

from __future__ import annotations

from collections.abc import Iterator

import torch

import spectrakit as sk
from benchmarks.checkpoints import Checkpoints
from benchmarks.measure import Row, in_turns, ratio, timed
from spectrakit.analyses.base import Request
from spectrakit.analyses.kind import AnalysisKind
from spectrakit.analyses.running import RunningAnalyses, chosen_kinds
from spectrakit.architectures.transformers_model import TransformersModel, quiet_transformers
from spectrakit.plugins import plugins
from spectrakit.tables import Manifest, MemorySink

TOKENS = 1024


def rows(checkpoints: Checkpoints) -> Iterator[Row]:
    kinds = chosen_kinds(plugins().analysis_kinds(), ["all"])
    names = ", ".join(kind.name for kind in kinds)
    tokens = torch.randint(50_000, (1, TOKENS), generator=torch.Generator().manual_seed(0))
    for name, folder in (("Mamba", checkpoints.safetensors), ("Mamba-2", checkpoints.mamba2)):
        with sk.open_checkpoint(str(folder)) as opened, torch.no_grad(), quiet_transformers():
            model = opened.architecture.load(opened.checkpoint, "cpu")
            assert isinstance(model, TransformersModel)

            def bare(model=model) -> None:
                model.model.base_model(input_ids=tokens, use_cache=False)

            def watched(model=model) -> None:
                _run(model, tokens, kinds)

            def ours(model=model) -> None:
                model.run(tokens)

            all_of_them, theirs = in_turns(lambda: timed(watched), lambda: timed(bare), times=3)
            again, own = in_turns(lambda: timed(watched), lambda: timed(ours), times=3)
        what = f"{name}, 130m shape, {TOKENS} tokens: {names}, in one pass"
        times = ratio(all_of_them, theirs)
        yield Row(
            f"{what}, against transformers' bare forward pass",
            f"{times:.2f}x as long",
            "<= 2x",
            times <= 2,
        )
        yield Row(
            f"{what}, against our own forward pass",
            f"{ratio(again, own):.2f}x as long",
            "none",
            True,
        )


def _run(model: TransformersModel, tokens: torch.Tensor, kinds: tuple[AnalysisKind, ...]) -> None:
    manifest = Manifest(model_id="m", revision="r", mode="data")
    analyses = RunningAnalyses(kinds, MemorySink(manifest), Request())
    valid = torch.ones_like(tokens, dtype=torch.bool)
    model.run(
        tokens,
        lambda layer, seen: analyses.see(layer, seen.recurrence, valid),
        on_states=lambda depth, states: analyses.see_states(depth, states, valid),
    )
    analyses.end_batch(lambda _: None, valid)
    analyses.finish()
