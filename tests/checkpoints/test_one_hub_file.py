"""One weight file of a Hub repository, by its address: hf://ORG/NAME/FOLDER/FILE."""

from __future__ import annotations

import pytest

from spectrakit.checkpoints import name_of, open_checkpoint
from spectrakit.errors import NetworkError, UnsupportedError, UsageError
from tests.conftest import CHECKPOINTS
from tests.support.mamba_ssm_files import write_mamba_ssm


@pytest.fixture
def weights(tmp_path):
    return write_mamba_ssm(CHECKPOINTS / "tiny-mamba", tmp_path / "o") / "pytorch_model.bin"


@pytest.fixture
def sha(hub, weights):
    """A repository without a config, of two weight files, one in a folder."""
    return hub.add_repo("a/many", {"One.pth": weights, "old/Two.pth": weights, "README.md": b"-"})


@pytest.mark.parametrize("file", ["One.pth", "old/Two.pth"])
def test_it_is_read_in_parts(hub, sha, weights, file):
    with open_checkpoint(f"hf://a/many/{file}") as remote, open_checkpoint(weights) as local:
        assert remote.model_id == f"a/many/{file}"
        assert remote.source == f"hub hf://a/many/{file}@{sha}"
        assert remote.revision == sha
        assert remote.tensors.keys() == local.tensors.keys()
        name = "backbone.layers.0.mixer.A_log"
        assert remote.read([name])[name].equal(local.read([name])[name])
    assert hub.bytes_sent < weights.stat().st_size / 2


def test_what_a_run_records_opens_it_again(hub, sha):
    with open_checkpoint("hf://a/many/old/Two.pth@main") as checkpoint:
        again = name_of(checkpoint.source)
    with open_checkpoint(again) as checkpoint:
        assert (checkpoint.model_id, checkpoint.revision) == ("a/many/old/Two.pth", sha)


@pytest.mark.parametrize("file", ["One.pth", "old/Two.pth"])
def test_once_downloaded_it_is_read_offline(hub, sha, file):
    address = f"hf://a/many/{file}"
    with pytest.raises(NetworkError, match="not in the cache") as caught:
        open_checkpoint(address, offline=True)
    assert f"spectrakit analyze {address} --full-download" in caught.value.hint
    with open_checkpoint(address, full_download=True) as checkpoint:
        tensors = checkpoint.tensors
    hub.forget()
    with open_checkpoint(address, offline=True) as checkpoint:
        assert checkpoint.tensors.keys() == tensors.keys()
        assert checkpoint.source == f"hub {address}@{sha}"
    with open_checkpoint(address, revision=sha) as checkpoint:
        assert checkpoint.model_id == f"a/many/{file}"
    assert hub.requests == 0


def test_without_a_file_it_is_asked_for(hub, weights):
    hub.add_repo("a/many", {"One.pth": weights, "Two.pth": weights, "config.json": b"{}"})
    with pytest.raises(UnsupportedError, match="2 weight files") as caught:
        open_checkpoint("a/many")
    assert caught.value.hint == "open_checkpoint('a/many', file='Two.pth')"


@pytest.mark.parametrize(
    ("address", "says"),
    [
        ("hf://a/many/Three.pth", "has no file 'Three.pth'"),
        ("hf://a/many/../../x.pth", "'..' is not a plain file name"),
        ("hf://a/many/x\x1b.pth", "is not a plain file name"),
        ("a/One.pth", "neither a file"),  # a path that is not there does not ask the Hub
        ("./a/many/One.pth", "neither a file"),
        ("a/many/One", "neither a file"),
    ],
)
def test_what_is_no_file_of_it_is_told(hub, sha, address, says):
    with pytest.raises(UsageError, match=says):
        open_checkpoint(address)
