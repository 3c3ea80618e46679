"""Two models on one text: how alike their hidden states are, at every pair of depths.

Both run on the same passages, and their states are compared at the tokens that end at the same
character (`aligned_text`), so that tokenizers may differ. Estimators and table are those of the
`similarity` analysis; `procrustes`, which there compares neighbouring depths, is left out.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from itertools import islice
from typing import TYPE_CHECKING

from spectrakit._lazy import lazy_import
from spectrakit.analyses.finite_states import check_finite
from spectrakit.analyses.massive.options import MassiveOptions
from spectrakit.analyses.massive.rows import MassiveFound
from spectrakit.analyses.similarity.estimates import estimates
from spectrakit.analyses.similarity.estimators import BY_NAME
from spectrakit.analyses.similarity.options import SimilarityOptions
from spectrakit.analyses.similarity.rows import similarity_rows
from spectrakit.analyses.similarity.tables import SIMILARITY
from spectrakit.analyses.similarity.tokens import SimilarityTokens
from spectrakit.architectures.residual_stream import depths_of
from spectrakit.checkpoints import TensorsInMemory, name_of
from spectrakit.checkpoints.access import HubAccess
from spectrakit.comparison.aligned_text import AlignedPassage, Encode, aligned_passages
from spectrakit.errors import UsageError
from spectrakit.forward import loaded, padding_mask, placed
from spectrakit.framing import framing
from spectrakit.memory_limits import check_states
from spectrakit.model import Model, open_model
from spectrakit.planning import randomized_revision
from spectrakit.progress import Progress, Silent
from spectrakit.representations.massive import Massive
from spectrakit.representations.spread import lengths
from spectrakit.representations.token_sets import BatchTokens
from spectrakit.spec import RunSpec
from spectrakit.token_options import TokenOptions, file_sha256
from spectrakit.tokenization import encoder_with_ends
from spectrakit.tokens import padded, text_blocks
from spectrakit.wording import given, named

if TYPE_CHECKING:
    import numpy as np
    import torch
    from torch import Tensor

    from spectrakit.architectures import RunnableModel
    from spectrakit.settings import Randomized, Source
    from spectrakit.tables import Run, Sink
else:
    np = lazy_import("numpy")
    torch = lazy_import("torch")


@dataclass(frozen=True)
class Way:
    """How a run took its model: by which tokenizer, and with which weights drawn anew.

    tokenizer: None for the model's own. randomize: None for trained weights; seed: of the others.
    mode: what the run read of the checkpoint.
    """

    tokenizer: str | None = None
    randomize: Randomized | None = None
    seed: int = 0
    mode: Source = "data"

    @classmethod
    def of(cls, run: Run) -> Way:
        """That of a run of `spectrakit analyze`."""
        settings = run.manifest.settings()
        return cls(
            settings.get("tokenizer"),
            settings.get("randomize"),
            run.manifest.seed or 0,
            "weights" if run.manifest.mode == "weights" else "data",
        )

    def revision(self, model: Model) -> str:
        """The revision that rows of the model carry."""
        revision = model.revision(self.mode)
        if self.randomize is None:
            return revision
        return randomized_revision(revision, self.randomize, self.seed)


@dataclass(frozen=True)
class RunsModels:
    """Opens the models of two runs again, at the commits they were, and compares them.

    spec: the text, device, type and seed; its model is none. hub: how the Hub is used.
    """

    spec: RunSpec
    hub: HubAccess = field(default_factory=HubAccess)
    progress: Progress | None = None

    @property
    def settings(self) -> dict[str, object]:
        """What decides its numbers, for the record."""
        spec = self.spec
        told = {"content": file_sha256(spec.source.file), "dtype": spec.dtype, "seed": spec.seed}
        return spec.source.record() | told

    def __call__(self, number: int, first: Run, other: Run, sink: Sink) -> None:
        """Write what `compare_models` finds; number: of the other run.

        Raises UsageError where a run's model was changed after it was read, or is not there any
        more.
        """
        with ExitStack() as stack:
            models = [stack.enter_context(_reopened(run, self.hub)) for run in (first, other)]
            ways = [Way.of(run) for run in (first, other)]
            compare_models(
                (models[0], models[1]),
                self.spec,
                sink,
                other_run=number,
                ways=(ways[0], ways[1]),
                progress=self.progress,
            )


def _reopened(run: Run, hub: HubAccess) -> Model:
    manifest = run.manifest
    if manifest.source == TensorsInMemory.source:
        message = f"{manifest.model_id} was in memory when it was analysed, and is not opened again"
        raise UsageError(message, hint="save_pretrained, and spectrakit analyze of that folder")
    names = ("config", "key", "file", "subfolder", "at")
    said = {name: manifest.spec[name] for name in names if manifest.spec.get(name) is not None}
    asked = RunSpec(model=name_of(manifest.source), **said)
    model = open_model(asked, cache_dir=hub.cache_dir, token=hub.token, offline=hub.offline)
    if Way.of(run).revision(model) != manifest.revision:
        model.close()
        message = f"{manifest.model_id} is not what it was when it was analysed"
        raise UsageError(message, hint="spectrakit analyze it again")
    return model


def compare_models(
    models: tuple[Model, Model],
    spec: RunSpec,
    sink: Sink,
    *,
    other_run: int = 1,
    ways: tuple[Way, Way] = (Way(), Way()),
    progress: Progress | None = None,
) -> None:
    """Run both models on the text of `spec`; write `similarity` rows of every pair of depths.

    depth is the first model's, other_depth the other's. other_run: the number that the rows of the
    other model are told apart by, where several are compared with the first. `source.max_tokens`
    counts the tokens that are compared; `source.tokenizer` is of both models, and without it that
    of their `ways`.

    Raises UsageError for token files (there is no text to align), and where no token of the two
    ends at the same character; what loading and running the models raises.
    """
    source = spec.source
    if source.tokens is not None:
        message = "two models are compared on a text, not on token ids"
        raise UsageError(message, hint=given(text="FILE"))
    if source.chat_template:
        raise UsageError("two models are compared on a text itself, without chat templates")
    progress = progress or Silent()
    options, seed = spec.options_of(SimilarityOptions), spec.seed
    runnable = [
        loaded(model, *placed(model, spec), way.randomize, way.seed)
        for model, way in zip(models, ways, strict=True)
    ]
    generator = torch.Generator().manual_seed(seed)
    kept = SimilarityTokens(options)
    found = (MassiveFound(), MassiveFound())
    widths: list[list[int]] = []
    with progress.task("comparing the models", total=source.max_tokens, unit="token") as task:
        for passages in _batches(models, ways, source, options):
            features, massive = _aligned_states(models, runnable, passages, found)
            widths = [[states.shape[1] for states in own] for own in features]
            tokens = len(features[0][0])
            # In a random order: groups of neighbouring tokens would say less than they seem to.
            priorities = torch.randint(1 << 62, (tokens,), generator=generator)
            priorities, order = priorities.sort()
            both = [states[order] for own in features for states in own]
            kept.add(both, priorities, massive[order])
            task.advance(tokens)
    if not widths:
        message = "no token of one model ends at the same character as one of the other"
        raise UsageError(message, hint=f"a longer text, or {named('tokenizer')} for one of them")
    told = {
        "other_model_id": models[1].checkpoint.model_id,
        "other_revision": ways[1].revision(models[1]),
        "other_run": other_run,
    }
    for rows in _rows(widths, options, seed, kept, found):
        sink.append(SIMILARITY, SIMILARITY.table(rows | told))


def _rows(
    widths: Sequence[Sequence[int]],
    options: SimilarityOptions,
    seed: int,
    kept: SimilarityTokens,
    found: tuple[MassiveFound, MassiveFound],
) -> Iterator[dict[str, object]]:
    """Every depth of the first model with every one of the other."""
    first, second = (len(own) for own in widths)
    own, theirs = (index.ravel() for index in np.indices((first, second)))
    pairs = own, theirs + first  # the features of both stand in one row
    estimators = tuple(name for name in options.estimators if not BY_NAME[name].adjacent)
    chosen = replace(options, estimators=estimators)
    coordinates = [
        of.kept(width) for of, own_widths in zip(found, widths, strict=True) for width in own_widths
    ]
    for estimate in estimates(chosen, seed, kept, coordinates):
        rows = similarity_rows(estimate, [*widths[0], *widths[1]], pairs, chosen)
        yield rows | {"other_depth": theirs}


def _batches(
    models: tuple[Model, Model],
    ways: tuple[Way, Way],
    source: TokenOptions,
    options: SimilarityOptions,
) -> Iterator[list[AlignedPassage]]:
    """The passages, as many at once as sequences, until `max_tokens` are compared."""
    first = 1 if options.without_first else 0
    encoders = tuple(
        _encoder(replace(source, tokenizer=source.tokenizer or way.tokenizer), model)
        for model, way in zip(models, ways, strict=True)
    )
    passages = (
        passage.behind(first)
        for block in text_blocks(source)
        for passage in aligned_passages(block, (encoders[0], encoders[1]), source.seq_len)
    )
    left = source.max_tokens
    while left > 0 and (group := list(islice(passages, source.batch_size))):
        batch = []
        for passage in group:
            batch.append(passage.first(left))
            left -= len(batch[-1].shared[0])
        if batch := [passage for passage in batch if len(passage.shared[0])]:
            yield batch


def _encoder(source: TokenOptions, model: Model) -> Encode:
    """Token ids and their ends; a BOS token ends at 0, where none is compared."""
    encode = encoder_with_ends(source.tokenizer, model)
    if not source.bos:
        return encode
    bos = framing(source, model).bos

    def begun(text: str) -> tuple[Sequence[int], Sequence[int]]:
        ids, ends = encode(text)
        return [bos or 0, *ids], [0, *ends]

    return begun


def _aligned_states(
    models: Sequence[Model],
    runnable: Sequence[RunnableModel],
    passages: Sequence[AlignedPassage],
    massive: Sequence[MassiveFound],
) -> tuple[list[list[Tensor]], Tensor]:
    """Of each model the states (n, E) at every depth, at the shared tokens, and (n,) of bool
    whether the token is massive in either; `massive` takes in what is.

    Raises AnalysisError where a token's state is NaN or Inf, UsageError where they do not fit in
    memory.
    """
    limits = (MassiveOptions().tokens, MassiveOptions().coordinates)
    found: list[list[Tensor]] = []
    flagged = []
    for which, (opened, model) in enumerate(zip(models, runnable, strict=True)):
        depths = depths_of(layer.path for layer in opened.layers)
        batch = padded([passage.ids[which] for passage in passages], model.vocabulary_size)
        valid = torch.from_numpy(batch.valid)
        rows = [np.full(len(p.shared[which]), row) for row, p in enumerate(passages)]
        places = torch.from_numpy(np.concatenate([p.shared[which] for p in passages]))
        chosen = torch.from_numpy(np.concatenate(rows)), places
        own: list[Tensor] = []
        norms: list[Tensor] = []

        def keep(
            depth: int,
            states: Tensor,
            own: list[Tensor] = own,
            norms: list[Tensor] = norms,
            valid: Tensor = valid,
            depths: int = depths,
        ) -> None:
            if depth == 0:
                check_states(states, depths)
            norms.append(lengths(states))
            check_finite(depth, norms[-1], valid.to(states.device), before=0)
            own.append(states.clone())

        model.run(torch.from_numpy(batch.ids), valid=padding_mask(model, valid), on_states=keep)
        seen = Massive(own, norms, valid.to(own[0].device), limits)
        massive[which].add(seen, BatchTokens(valid).position)
        flagged.append(seen.tokens[chosen].cpu())
        found.append([states[chosen] for states in own])
    return found, flagged[0] | flagged[1]
