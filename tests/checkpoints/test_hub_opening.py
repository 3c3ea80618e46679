"""Reading from a Hub: only the bytes that are asked for, at one commit, or from the cache."""

from __future__ import annotations

import json
from contextlib import contextmanager
from pathlib import Path

import pytest
import torch

from spectrakit.checkpoints import open_checkpoint
from spectrakit.errors import NetworkError, UnsupportedError, UsageError
from tests.support import shapes

REPO = "state-spaces/mamba-130m"
SHAPE = shapes.Shape(layers=4, width=256, vocabulary=512, state=16)


def model_files(tmp_path, form, shards=1) -> dict:
    original = form == "bin"
    tensors = shapes.mamba(SHAPE, original=original)
    config = shapes.mamba_config(SHAPE, original=original)
    folder = shapes.write(tmp_path / f"{form}-{shards}", config, tensors, form=form, shards=shards)
    return {path.name: path for path in folder.iterdir()}


@pytest.fixture(params=["safetensors", "bin"])
def files(request, tmp_path):
    return model_files(tmp_path, request.param)


def weights(files) -> Path:
    return next(p for name, p in files.items() if name.endswith((".safetensors", ".bin")))


def reference(files) -> dict:
    with open_checkpoint(str(weights(files).parent)) as local:
        return local.read(local.tensors)


@pytest.mark.parametrize("server", ["hub", "hub_with_cdn"])
def test_ranges_only(server, files, request):
    hub = request.getfixturevalue(server)
    sha = hub.add_repo(REPO, files)
    with open_checkpoint(REPO) as checkpoint:
        assert checkpoint.model_id == REPO
        assert checkpoint.origin == "hub"
        assert checkpoint.revision == sha
        assert checkpoint.source == f"hub {REPO}@{sha}"
        assert checkpoint.tokenizer == "EleutherAI/gpt-neox-20b"
        assert checkpoint.config == json.loads(files["config.json"].read_text())
        names = shapes.step_tensors(checkpoint.tensors)
        before = hub.bytes_sent
        read = checkpoint.read(names)
        assert hub.bytes_sent - before == checkpoint.cost(names)
    expected = reference(files)
    assert all(torch.equal(read[name], expected[name]) for name in names)
    assert hub.bytes_sent < 0.35 * weights(files).stat().st_size
    assert checkpoint.bytes_read == hub.bytes_sent
    assert checkpoint.requests == hub.requests
    # model info, config (HEAD, GET), redirect, index (1 or 2), and a range or two a layer
    assert hub.requests <= 6 + 2 * SHAPE.layers


def test_every_request_is_for_the_same_commit(hub, files):
    """A push between two requests must not mix two commits."""
    sha = hub.add_repo(REPO, files)
    with open_checkpoint(REPO, revision="main") as checkpoint:
        checkpoint.read(checkpoint.tensors)
    resolved = [seen.path for seen in hub.seen if "/resolve/" in seen.path]
    assert resolved
    assert all(f"/resolve/{sha}/" in path for path in resolved)


def test_the_whole_model_by_ranges_is_bit_equal(hub_with_cdn, files, monkeypatch):
    monkeypatch.setattr("spectrakit.checkpoints.remote_file.PIECE_BYTES", 100_000)
    hub_with_cdn.add_repo(REPO, files)
    with open_checkpoint(REPO) as checkpoint:
        read = checkpoint.read(checkpoint.tensors)
    expected = reference(files)
    assert set(read) == set(expected)
    assert all(torch.equal(read[name], tensor) for name, tensor in expected.items())


@pytest.mark.parametrize("form", ["safetensors", "bin"])
def test_shards(hub_with_cdn, tmp_path, form):
    files = model_files(tmp_path, form, shards=3)
    hub_with_cdn.add_repo("org/sharded", files)
    with open_checkpoint("org/sharded") as checkpoint:
        assert len(checkpoint.files) == 3
        names = shapes.step_tensors(checkpoint.tensors)
        read = checkpoint.read(names)
    expected = reference(files)
    assert all(torch.equal(read[name], expected[name]) for name in names)


@pytest.mark.parametrize(
    "name", [REPO, f"hf://{REPO}", f"{REPO}@v1.0", f"hf://{REPO}@refs/pr/1", "mamba-130m"]
)
def test_ways_to_name_a_repository(hub, files, name):
    hub.add_repo(REPO, files, revisions=("main", "v1.0", "refs/pr/1"))
    with open_checkpoint(name) as checkpoint:
        assert checkpoint.model_id == REPO


def test_a_repository_without_an_owner(hub, files):
    hub.add_repo("gpt2", files)
    with open_checkpoint("gpt2") as checkpoint:
        assert checkpoint.model_id == "gpt2"


@pytest.mark.parametrize(
    ("present", "said"),
    [
        ({"config.json": b"{}", "model.onnx": b"x"}, "ONNX only"),
        ({"config.json": b"{}", "tf_model.h5": b"x"}, "TensorFlow only"),
        ({"config.json": b"{}"}, "has no weights"),
        ({"onnx/model.safetensors": b"x", "config.json": b"{}"}, "has no weights"),
    ],
)
def test_unsupported_repositories(hub, present, said):
    hub.add_repo("org/other", present)
    with pytest.raises(UnsupportedError, match=said):
        open_checkpoint("org/other")


def test_a_repository_without_a_config(hub, files):
    hub.add_repo(REPO, {name: data for name, data in files.items() if name != "config.json"})
    with open_checkpoint(REPO) as checkpoint:
        assert checkpoint.config == {}
        assert checkpoint.tensors


def test_side_files_are_downloaded_into_the_cache(hub, files, tmp_path):
    hub.add_repo(REPO, files | {"tokenizer.json": b'{"version": "1.0"}'})
    with open_checkpoint(REPO, cache_dir=tmp_path / "elsewhere") as checkpoint:
        path = checkpoint.file_path("tokenizer.json")
        assert path.read_bytes() == b'{"version": "1.0"}'
        assert path.is_relative_to(tmp_path / "elsewhere")
        assert checkpoint.file_path("vocab.json") is None
        with pytest.raises(UsageError):
            checkpoint.file_path("../config.json")


class Watched:
    """A progress that keeps what it was told."""

    def __init__(self) -> None:
        self.tasks = {}

    @contextmanager
    def task(self, what, *, total, unit):
        assert unit == "B"
        self.tasks[what] = [total, 0]
        yield self
        self.current = None

    def advance(self, amount):
        last = list(self.tasks)[-1]
        self.tasks[last][1] += amount


def test_progress_counts_the_bytes_of_a_read(hub, files):
    hub.add_repo(REPO, files)
    watched = Watched()
    with open_checkpoint(REPO, progress=watched) as checkpoint:
        names = shapes.step_tensors(checkpoint.tensors)
        checkpoint.read(names)
        cost = checkpoint.cost(names)
    assert watched.tasks[f"reading {REPO}"] == [cost, cost]


def test_full_download_and_then_the_cache(hub_with_cdn, files):
    hub = hub_with_cdn
    hub.add_repo(REPO, files)
    watched = Watched()
    with open_checkpoint(REPO, full_download=True, progress=watched) as checkpoint:
        assert checkpoint.localize() is checkpoint
    size = weights(files).stat().st_size
    assert watched.tasks[f"downloading {weights(files).name}"][1] == size
    hub.forget()
    with open_checkpoint(REPO) as checkpoint:  # asks only what main is now
        read = checkpoint.read(checkpoint.tensors)
    assert [seen.method for seen in hub.seen] == ["GET"]
    assert hub.bytes_sent < 1000
    expected = reference(files)
    assert all(torch.equal(read[name], tensor) for name, tensor in expected.items())


def test_localize(hub_with_cdn, files):
    hub = hub_with_cdn
    hub.add_repo(REPO, files)
    with open_checkpoint(REPO) as remote:
        local = remote.localize()
        assert (local.model_id, local.revision, local.source) == (
            remote.model_id,
            remote.revision,
            remote.source,
        )
        hub.forget()
        name = shapes.step_tensors(remote.tensors)[0]
        assert torch.equal(local.read([name])[name], remote.read([name])[name])
        assert hub.requests == 1  # the remote one's
        assert local.localize() is local
        local.close()


@pytest.mark.parametrize("how", ["argument", "HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE"])
def test_offline_uses_the_cache(hub, files, monkeypatch, how):
    sha = hub.add_repo(REPO, files)
    open_checkpoint(REPO, full_download=True).close()
    hub.forget()
    if how != "argument":
        monkeypatch.setenv(how, "1")
    for revision in (None, "main", sha):
        offline = True if how == "argument" else None
        with open_checkpoint(REPO, revision=revision, offline=offline) as checkpoint:
            assert checkpoint.revision == sha
            assert checkpoint.origin == "hub"
            checkpoint.read(shapes.step_tensors(checkpoint.tensors))
            assert checkpoint.file_path("tokenizer.json") is None
    assert hub.requests == 0


def test_offline_false_overrides_the_environment(hub, files, monkeypatch):
    hub.add_repo(REPO, files)
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with open_checkpoint(REPO, offline=False) as checkpoint:
        assert checkpoint.tensors


def test_offline_misses(hub, files):
    with pytest.raises(NetworkError, match="is not in the cache") as caught:
        open_checkpoint(REPO, offline=True)
    assert "--full-download" in caught.value.hint
    assert caught.value.exit_code == 6
    hub.add_repo(REPO, files)
    open_checkpoint(REPO).close()  # the config is cached now, the weights are not
    with pytest.raises(NetworkError, match="lacks its weights"):
        open_checkpoint(REPO, offline=True)
    with pytest.raises(NetworkError, match="at revision v9 is not in the cache"):
        open_checkpoint(REPO, revision="v9", offline=True)


def test_offline_misses_one_shard(hub, tmp_path):
    files = model_files(tmp_path, "safetensors", shards=3)
    hub.add_repo(REPO, files)
    with open_checkpoint(REPO, full_download=True) as checkpoint:
        shard = checkpoint.files[1].path
    next(Path(tmp_path / "hub-cache").glob(f"**/snapshots/*/{shard}")).unlink()
    with pytest.raises(NetworkError, match=f"lacks a shard \\({shard}\\)"):
        open_checkpoint(REPO, offline=True)


def test_a_cached_commit_needs_no_network(hub, files):
    sha = hub.add_repo(REPO, files)
    open_checkpoint(REPO, full_download=True).close()
    hub.forget()
    with open_checkpoint(f"{REPO}@{sha}") as checkpoint:
        assert checkpoint.revision == sha
    assert hub.requests == 0


def test_an_unreachable_hub_falls_back_to_the_cache_and_says_so(hub, files, monkeypatch, caplog):
    sha = hub.add_repo(REPO, files)
    open_checkpoint(REPO, full_download=True).close()
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    with open_checkpoint(REPO) as checkpoint:
        assert checkpoint.revision == sha
    assert "cannot reach http://127.0.0.1:9" in caplog.text
    assert "from the cache" in caplog.text


def test_a_cached_file_of_the_wrong_size_is_not_used(hub, files, tmp_path):
    hub.add_repo(REPO, files)
    open_checkpoint(REPO, full_download=True).close()
    cached = next((tmp_path / "hub-cache").glob(f"**/snapshots/*/{weights(files).name}"))
    cached.resolve().write_bytes(b"cut short")
    with open_checkpoint(REPO) as checkpoint:
        checkpoint.read(shapes.step_tensors(checkpoint.tensors))
