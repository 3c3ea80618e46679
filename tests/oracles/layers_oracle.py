"""Oracle of what runs say of themselves: `layers`, and who and what every table is of.

Sizes are those of the tensors; bytes are those of the safetensors header. Of `revision`, which is a
short hash of contents, it is checked what it is for: one for all tables of a run and for copies of
a checkpoint, another for one with other weights.
"""

from __future__ import annotations

import json
import shutil

import numpy as np
from safetensors.numpy import save_file

from tests.oracles.checking import oracle
from tests.oracles.made import made_run
from tests.oracles.runs import (
    BUNDLED,
    CHECKPOINTS,
    model,
    observed_run,
    run,
    scratch,
    weights_run,
)

TABLES_OF_A_RUN = (
    "layers", "spectrum", "spectrum_summary", "spectrum_histogram", "lyapunov", "decay_kernel",
    "decay_kernel_summary", "memory_function", "memory_summary", "similarity", "propagation",
    "perturbation",
)  # fmt: skip

#: Of the families that are looked at: kind, operator, and what weights mode needs of each.
KINDS = {
    "mamba": ("mamba", "separable_decay", ("A_log", "dt_proj.bias")),
    "mamba2": ("mamba2", "scalar_decay", ("A_log", "dt_bias")),
    "llama": ("softmax_attention", "scalar_decay", ()),
}


def header(file):
    """Bytes of every tensor by name, as the file's own header has them."""
    with file.open("rb") as opened:
        size = int.from_bytes(opened.read(8), "little")
        entries = json.loads(opened.read(size))
    return {
        name: entry["data_offsets"][1] - entry["data_offsets"][0]
        for name, entry in entries.items()
        if name != "__metadata__"
    }


def module_of(one, layer):
    """The path of a bundled checkpoint's mixer."""
    llama = one.config["model_type"] == "llama"
    return f"model.layers.{layer}.self_attn" if llama else f"backbone.layers.{layer}.mixer"


def sizes(one):
    """Heads, channels and state entries of a bundled checkpoint's layers."""
    c = one.config
    if c["model_type"] == "mamba":
        channels, states = one.stored["backbone.layers.0.mixer.A_log"].shape
        return None, channels, states
    if c["model_type"] == "mamba2":
        return c["num_heads"], None, c["state_size"]
    return c["num_attention_heads"], None, None


@oracle(
    "layers",
    "layer path block kind operator mode gauge heads channels state_size status reason bytes_read "
    "tokens sequences",
)
def what_layers_are(report, long):
    """`layers` of bundled models in both modes, and of a layer that its weights do not show."""
    for name in BUNDLED:
        one = model(name)
        kind, operator, needed = KINDS[one.config["model_type"]]
        stored = header(one.folder / "model.safetensors")
        runs = [(observed_run(name), "data", None)]
        if needed:
            runs.append((weights_run(name), "nominal", needed))
        for found, mode, names in runs:
            told = found.told.get("sequences", [])
            for layer in range(one.config["num_hidden_layers"]):
                at = module_of(one, layer)
                read = [f"{at}.{each}" for each in names] if names else _inside(stored, at)
                heads, channels, states = sizes(one)
                report.compare(
                    found,
                    "layers",
                    key="",
                    where={"layer": layer},
                    expected={
                        "path": at,
                        "kind": kind,
                        "operator": operator,
                        "mode": mode,
                        "block": layer,
                        "gauge": "retained" if kind == "softmax_attention" else "unnormalised",
                        "heads": heads,
                        "channels": channels,
                        "state_size": states,
                        "status": "analysed",
                        "reason": None,
                        "bytes_read": sum(stored[each] for each in read),
                        "tokens": sum(map(len, told)) if mode == "data" else None,
                        "sequences": len(told) if mode == "data" else None,
                    },
                )
    _unread(report)


def _inside(stored, at):
    return [name for name in stored if name.startswith(f"{at}.")]


def _unread(report):
    """An attention layer has nothing to show without tokens: it is listed, with a reason."""
    folder = scratch("mixed")
    _llama_beside_mamba(folder)
    found = run(str(folder), analyses=("spectrum",), mode="weights")
    (row,) = [row for row in found.rows("layers") if row["status"] != "analysed"]
    assert "token" in row["reason"] or "--mode data" in row["reason"], row["reason"]
    report.compare(
        found,
        "layers",
        key="",
        where={"layer": row["layer"]},
        expected={
            "path": "model.layers.1.self_attn",
            "status": "needs-data",
            "reason": row["reason"],
            "mode": None,
            "gauge": None,
            "block": 1,
            "bytes_read": 0,
        },
    )


def _llama_beside_mamba(folder):
    """A tiny Jamba: one Mamba layer, one of attention, no experts."""
    import torch
    from transformers import JambaConfig, JambaForCausalLM

    torch.manual_seed(0)
    config = JambaConfig(
        vocab_size=32, hidden_size=16, intermediate_size=16, num_hidden_layers=2,
        num_attention_heads=2, num_key_value_heads=2, attn_layer_period=2, attn_layer_offset=1,
        expert_layer_period=2, expert_layer_offset=1, num_experts=1, mamba_d_state=4,
        mamba_dt_rank=2, use_mamba_kernels=False,
    )  # fmt: skip
    JambaForCausalLM(config).save_pretrained(folder)


def _identity(report, found, tables):
    for table in tables:
        rows = found.rows(table)
        assert rows, f"{found}: no {table}"
        for column in ("model_id", "revision"):
            values = {row[column] for row in rows}
            assert values == {found.manifest[column]}, f"{found}: {table}.{column} is {values}"
            report.note(f"{table}.{column}")


def identities(run):
    """Declare the identity columns of the tables that `who_and_what` looks at."""
    for table in TABLES_OF_A_RUN:
        run = oracle(table, "model_id revision")(run)
    return run


@identities
def who_and_what(report, long):
    """Identity columns: of the run in every table, of the contents across runs."""
    found = observed_run("tiny-mamba2")
    tables = set(TABLES_OF_A_RUN) - {"spectrum"}
    _identity(report, found, tables)
    nominal = weights_run("tiny-mamba")
    _identity(report, nominal, ["spectrum"])
    assert nominal.manifest["model_id"] == "tiny-mamba"
    revision = observed_run("tiny-mamba").manifest["revision"]
    assert nominal.manifest["revision"] == revision
    assert _copied("tiny-mamba").manifest["revision"] == revision
    assert _copied("tiny-mamba", change=True).manifest["revision"] != revision
    assert made_run("lru").manifest["revision"] != made_run("minimal-s4d").manifest["revision"]


def _copied(name, *, change=False):
    """A run of a copy of a checkpoint in another place, with one weight changed or not."""
    folder = scratch(f"copy-of-{name}")
    shutil.copytree(CHECKPOINTS / name, folder)
    if change:
        tensors = {key: value.copy() for key, value in model(name).stored.items()}
        first = tensors["backbone.layers.1.mixer.A_log"]
        first.flat[0] = np.nextafter(first.flat[0], np.float32(9))
        save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    return run(str(folder), analyses=("spectrum",), mode="weights")
