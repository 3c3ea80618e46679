"""A model as a black box: a white signal goes in at some depth, and is read back behind it."""

from __future__ import annotations

import pytest
import torch

import spectrakit as sk
from spectrakit.analyses.base import Request
from spectrakit.analyses.empirical_memory.analysis import EmpiricalMemory
from spectrakit.analyses.empirical_memory.options import EmpiricalMemoryOptions
from spectrakit.errors import AnalysisError, UsageError
from spectrakit.tables import Manifest, MemorySink
from spectrakit.token_options import TokenOptions

MANIFEST = Manifest(model_id="model", revision="sha", mode="data")
DECAYS = torch.tensor([0.9, 0.5])


def leaky_model(embedded):
    """Two blocks, each of which adds leaky averages of its input: linear, so its memory is known.

    The last two features of the stream are the blocks' states.
    """

    def rerun(on_states):
        states = embedded.clone()
        for depth in range(3):
            changed = on_states(depth, states)
            states = states if changed is None else changed
            state = torch.zeros(len(states), states.shape[-1], 2)
            outputs = []
            for t in range(states.shape[1]):
                state = DECAYS * state + states[:, t, :, None]
                outputs.append(state)
            states = torch.stack(outputs, 1).flatten(2)
        return states

    return rerun


def measured(drive="model", batches=4):
    sink = MemorySink(MANIFEST)
    request = Request(EmpiricalMemoryOptions(drive))
    analysis = EmpiricalMemory(sink, request)
    generator = torch.Generator().manual_seed(0)
    for _ in range(batches):
        embedded = torch.randn(8, 256, 3, generator=generator)
        analysis.see_rerun(leaky_model(embedded), torch.ones(8, 256, dtype=torch.bool))
    analysis.finish()
    return sink.run.table("empirical_memory").to_pylist()


def curve(rows, driven, depth):
    return {
        row["delay"]: row["value"]
        for row in rows
        if (row["driven_depth"], row["depth"]) == (driven, depth)
    }


def memory_of(decays, delays):
    """The memory function of a diagonal recurrence, from its Gramian."""
    decays = decays.double()
    gram = 1 / (1 - decays[:, None] * decays)
    powers = decays ** torch.tensor(delays)[:, None]
    return torch.einsum("dn,nm,dm->d", powers, torch.linalg.inv(gram), powers)


def test_where_the_signal_enters_there_is_no_past():
    found = curve(measured(), 0, 0)
    assert found.pop(0) == pytest.approx(1, abs=1e-9)
    assert max(map(abs, found.values())) < 0.02


def test_a_linear_block_has_the_memory_of_its_recurrence():
    rows = measured()
    found = curve(rows, 0, 1)
    delays = [delay for delay in found if delay <= 20]
    expected = memory_of(DECAYS, delays)
    torch.testing.assert_close(
        torch.tensor([found[delay] for delay in delays]).double(), expected, rtol=0, atol=0.03
    )
    # The second block adds a state: its rank is three, of which these delays have most.
    assert sum(curve(rows, 0, 2).values()) > sum(found.values()) + 0.6


def test_blocks_are_driven_one_by_one():
    rows = measured("blocks")
    assert {(row["driven_depth"], row["depth"]) for row in rows} == {(0, 0), (0, 1), (1, 1), (1, 2)}
    found = curve(rows, 1, 2)
    delays = [delay for delay in found if delay <= 10]
    expected = memory_of(DECAYS, delays)
    torch.testing.assert_close(
        torch.tensor([found[delay] for delay in delays]).double(), expected, rtol=0, atol=0.03
    )


def test_too_few_tokens_are_a_reason():
    sink = MemorySink(MANIFEST)
    analysis = EmpiricalMemory(sink, Request())
    analysis.see_rerun(leaky_model(torch.randn(2, 12, 3)), torch.ones(2, 12, dtype=torch.bool))
    analysis.finish()
    rows = sink.run.table("empirical_memory").to_pylist()
    assert {row["value"] for row in rows if row["depth"] == 2} == {None}
    assert {row["reason"] for row in rows if row["depth"] == 2} == {"too-few-tokens"}


def test_padded_sequences_are_left_out():
    sink = MemorySink(MANIFEST)
    analysis = EmpiricalMemory(sink, Request())
    valid = torch.ones(2, 12, dtype=torch.bool)
    valid[:, -1] = False
    analysis.see_rerun(lambda _: pytest.fail("nothing to run"), valid)
    analysis.finish()
    assert sink.run.tables == ()


def test_a_nan_names_its_block_and_token():
    def rerun(on_states):
        states = on_states(0, torch.ones(2, 12, 3))
        states[1, 4] = torch.nan
        on_states(1, states)

    analysis = EmpiricalMemory(MemorySink(MANIFEST), Request())
    with pytest.raises(AnalysisError, match=r"NaN where it leaves block 0 .* sequence 1, token 4"):
        analysis.see_rerun(rerun, torch.ones(2, 12, dtype=torch.bool))


def test_a_mamba_remembers_what_its_convolution_holds():
    source = TokenOptions(max_tokens=8192, seq_len=256, batch_size=8)
    run = sk.analyze("tiny-mamba", analyses="empirical_memory", mode="data", source=source)
    found = curve(run.table("empirical_memory").to_pylist(), 0, 1)
    assert all(found[delay] > 0.99 for delay in range(4))  # of width 4
    assert found[5] < 0.6


def test_what_cannot_be_driven_is_refused():
    with pytest.raises(UsageError, match="unknown drive 'head'"):
        EmpiricalMemoryOptions("head")
