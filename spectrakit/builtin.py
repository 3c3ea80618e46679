"""What spectrakit itself provides, registered through the same hooks as any plugin.

Prompt sets are imported when they are asked for: one run needs one or two of them. Every
architecture is asked whether a checkpoint is its own.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from spectrakit.analyses import (
    empirical_memory,
    kernel,
    lyapunov,
    memory,
    perturbation,
    probe,
    propagation,
    rickenbach2025,
    similarity,
    spectrum,
)
from spectrakit.hookspecs import hookimpl
from spectrakit.registry import Deferred
from spectrakit.tables.comparison_schemas import DECAY_DISTANCE, SUMMARY_DIFFERENCE
from spectrakit.tables.schemas import LAYERS
from spectrakit.tables.training_schemas import TRAINING, TRAINING_SPECTRUM, TRAINING_TIMESCALES
from spectrakit.training.tracking.memory_table import TRAINING_MEMORY
from spectrakit.zoo.schemas import LEADERBOARD, MODELS

if TYPE_CHECKING:
    from spectrakit.analyses.kind import AnalysisKind
    from spectrakit.architectures import Architecture
    from spectrakit.mixers import Mixer
    from spectrakit.prompt_sets import PromptSet
    from spectrakit.training.data.base import Task

#: The analyses, in the order in which they are run, shown and documented.
ANALYSES = (
    spectrum,
    lyapunov,
    kernel,
    memory,
    propagation,
    perturbation,
    rickenbach2025,
    empirical_memory,
    probe,
    similarity,
)

#: Every table of spectrakit itself, each once, in the order of the documentation.
TABLES = tuple(
    dict.fromkeys(
        [
            LAYERS,
            *(table for analysis in ANALYSES for table in analysis.KIND.tables),
            DECAY_DISTANCE,
            SUMMARY_DIFFERENCE,
            MODELS,
            LEADERBOARD,
            TRAINING,
            TRAINING_SPECTRUM,
            TRAINING_TIMESCALES,
            TRAINING_MEMORY,
        ]
    )
)


@hookimpl
def register_architectures(register: Callable[[Architecture], None]) -> None:
    """Families of transformers; Mamba in the format of mamba_ssm; the S4 line and others, bare."""
    from spectrakit.architectures.bare.family import BareModules
    from spectrakit.architectures.dss import DiagonalStateSpaces
    from spectrakit.architectures.fla_linear_attention import FlaLinearAttention
    from spectrakit.architectures.mamba_in_llama import MambaInLlama
    from spectrakit.architectures.mamba_ssm import MambaSSM
    from spectrakit.architectures.minimal_lru import MinimalLRU
    from spectrakit.architectures.minimal_s4d import MinimalS4D
    from spectrakit.architectures.rwkv_files import RWKVFiles
    from spectrakit.architectures.s5 import SimplifiedS5
    from spectrakit.architectures.state_spaces_s4 import StateSpacesS4
    from spectrakit.architectures.trained import TrainedHere
    from spectrakit.architectures.transformers_attention import TransformersAttention
    from spectrakit.architectures.transformers_delta import GATED_DELTA_FAMILIES
    from spectrakit.architectures.transformers_encoder_decoders import TransformersEncoderDecoder
    from spectrakit.architectures.transformers_encoders import TransformersEncoder
    from spectrakit.architectures.transformers_kimi_delta import KIMI_DELTA_FAMILIES
    from spectrakit.architectures.transformers_lfm import TransformersLFM
    from spectrakit.architectures.transformers_mamba import TransformersMamba, TransformersMamba2
    from spectrakit.architectures.transformers_mamba_hybrids import MAMBA_HYBRIDS
    from spectrakit.architectures.transformers_minimax import TransformersMiniMax
    from spectrakit.architectures.transformers_recurrent_gemma import TransformersRecurrentGemma
    from spectrakit.architectures.transformers_rwkv import TransformersRWKV
    from spectrakit.architectures.transformers_xlstm import TransformersXLSTM
    from spectrakit.architectures.transformers_zamba import TransformersZamba, TransformersZamba2

    register(TrainedHere())
    register(TransformersMamba())
    register(TransformersMamba2())
    for hybrid in MAMBA_HYBRIDS:
        register(hybrid())
    register(TransformersZamba())
    register(TransformersZamba2())
    for family in (*GATED_DELTA_FAMILIES, *KIMI_DELTA_FAMILIES):
        register(family())
    register(TransformersRecurrentGemma())
    register(TransformersRWKV())
    register(TransformersXLSTM())
    register(TransformersMiniMax())
    register(TransformersLFM())
    register(FlaLinearAttention())
    register(RWKVFiles())
    register(MambaSSM())
    register(MambaInLlama())
    register(TransformersAttention())
    register(TransformersEncoder())
    register(TransformersEncoderDecoder())
    static = (
        StateSpacesS4(),
        MinimalS4D(),
        DiagonalStateSpaces(),
        SimplifiedS5(),
        MinimalLRU(),
    )
    for line in static:
        register(line)
    register(BareModules(static))


@hookimpl
def register_mixers(register: Callable[[type[Mixer]], None]) -> None:
    """Mamba, Mamba-2, the gated delta rules and the S4 line."""
    from spectrakit.mixers import (
        DSS,
        LRU,
        MLSTM,
        RGLRU,
        RWKV4,
        RWKV5,
        RWKV6,
        RWKV7,
        S4,
        S4D,
        S5,
        GatedDeltaNet,
        KimiDelta,
        LightningAttention,
        LinearAttention,
        Mamba,
        Mamba2,
        NormAttention,
        Retention,
        ShortConvolution,
        SoftmaxAttention,
    )
    from spectrakit.mixers.delta_layer import DeltaNet
    from spectrakit.mixers.dense import DenseRecurrence
    from spectrakit.mixers.pseudo_lti import PseudoLTIMamba2

    register(Mamba)
    register(Mamba2)
    register(GatedDeltaNet)
    register(KimiDelta)
    register(RGLRU)
    register(RWKV4)
    register(RWKV5)
    register(RWKV6)
    register(RWKV7)
    register(MLSTM)
    register(LightningAttention)
    register(Retention)
    register(ShortConvolution)
    register(LinearAttention)
    register(NormAttention)
    register(S4)
    register(S4D)
    register(DSS)
    register(S5)
    register(LRU)
    register(SoftmaxAttention)
    register(DenseRecurrence)
    register(PseudoLTIMamba2)
    register(DeltaNet)


@hookimpl
def register_analyses(register: Callable[[AnalysisKind], None]) -> None:
    """Spectra, memory, representations and what the released analyses compute."""
    for analysis in ANALYSES:
        register(analysis.KIND)


@hookimpl
def register_tasks(register: Callable[[Deferred[type[Task]]], None]) -> None:
    """Long-memory tasks, and language."""
    places = {
        "digits": "digits:Digits",
        "mqar": "mqar:MQAR",
        "listops": "listops:ListOps",
        "copying": "copying:Copying",
        "adding": "adding:Adding",
        "bytes": "text:Bytes",
        "imdb": "imdb:Imdb",
        "cifar10": "cifar10:Cifar10",
        "pathfinder32": "pathfinder32:Pathfinder32",
        "wikitext": "wikitext:Wikitext",
    }
    for name, place in places.items():
        register(Deferred(name, f"spectrakit.training.data.{place}"))


@hookimpl
def register_prompt_sets(register: Callable[[Deferred[type[PromptSet]]], None]) -> None:
    """The two of lost-in-the-middle (arXiv 2307.03172)."""
    register(Deferred("kv-retrieval", "spectrakit.prompt_sets.kv_retrieval:KeyValueRetrieval"))
    register(Deferred("multi-doc-qa", "spectrakit.prompt_sets.multi_doc_qa:MultiDocumentQA"))
