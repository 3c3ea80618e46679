"""The same files, run by the RWKV project's own package on the CPU."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest
import torch
from spectrakit_rwkv.examples import VERSIONS, VOCABULARY, state_dict

import spectrakit as sk
from spectrakit.architectures.written_out import ForwardPass

pytest.importorskip("rwkv", reason="the package rwkv is not installed")

# It is imported for version 7 or for those before, and prints; so it has processes of its own. Its
# models have mixings as wide as the model.
WIDTH = 12
THEIRS = """
import contextlib, json, sys
import torch
with contextlib.redirect_stdout(sys.stderr):
    from rwkv.model import RWKV
    logits = {
        version: [RWKV(path, "cpu fp32").forward(ids, None, full_output=True)[0] for ids in tokens]
        for version, (path, tokens) in json.load(sys.stdin).items()
    }
torch.save({version: torch.stack(found) for version, found in logits.items()}, sys.argv[1])
"""


@pytest.fixture(scope="module")
def tokens():
    generator = torch.Generator().manual_seed(5)
    return torch.randint(VOCABULARY, (2, 40), generator=generator)


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    folder = tmp_path_factory.mktemp("rwkv")
    for version in VERSIONS:
        torch.save(state_dict(version, WIDTH), folder / f"{version}.pth")
    return folder


@pytest.fixture(scope="module", params=["before 7", "7"])
def theirs(request, written, tokens):
    """Logits (B, T, vocabulary) by version."""
    seventh = request.param == "7"
    versions = [version for version in VERSIONS if (version == "7") is seventh]
    asked = {version: (str(written / version), tokens.tolist()) for version in versions}
    switches = {"RWKV_JIT_ON": "0", "RWKV_CUDA_ON": "0", "RWKV_V7_ON": "1" if seventh else "0"}
    subprocess.run(
        [sys.executable, "-c", THEIRS, str(written / "logits")],
        input=json.dumps(asked),
        text=True,
        check=True,
        capture_output=True,
        env={**os.environ, **switches},
        timeout=120,
    )
    return torch.load(written / "logits")


def test_logits_are_those_of_the_project(theirs, written, tokens):
    for version, expected in theirs.items():
        with sk.open_checkpoint(str(written / f"{version}.pth")) as model:
            runnable = model.architecture.load(model.checkpoint, "cpu")
            with torch.no_grad():
                hidden = runnable.hidden_states(tokens, ForwardPass(runnable))
            head = model.checkpoint.read(["head.weight"])["head.weight"]
        error = (hidden @ head.mT - expected).abs().max() / expected.abs().max()
        assert float(error) < 1e-5, version
