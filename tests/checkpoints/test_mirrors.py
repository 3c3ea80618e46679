"""Mirrors of the Hub that say less than it does: listings without sizes, headers without them."""

from __future__ import annotations

import pytest

from spectrakit.checkpoints import open_checkpoint
from spectrakit.errors import NetworkError, UsageError
from tests.checkpoints.test_hub_faults import REPO, WEIGHTS, assert_right, read_steps
from tests.support import shapes


@pytest.fixture(params=["files itself", "a link with its size", "a link alone"])
def mirror(request, hub, hub_with_cdn, files):
    """Listings have no sizes; what the mirror answers when it is asked for a file."""
    server = hub if request.param == "files itself" else hub_with_cdn
    if server is hub:
        request.getfixturevalue("monkeypatch").setenv("HF_ENDPOINT", hub.url)
    server.says_sizes = False
    server.linked_size = request.param != "a link alone"
    server.add_repo(REPO, files)
    return server


def test_sizes_are_asked_for_of_what_is_read_alone(mirror, files, folder):
    more = {f"other-{number}.md": b"x" for number in range(50)}
    mirror.add_repo(REPO, files | more | {"large.onnx": b"x" * 100})
    with open_checkpoint(REPO) as checkpoint:
        assert_right(read_steps(checkpoint), folder)
        assert checkpoint.files[0].size == files[WEIGHTS].stat().st_size
    asked = {seen.path.partition("?")[0].rpartition("/")[2] for seen in mirror.seen}
    assert asked & {*more, "large.onnx"} == set()
    heads = [seen for seen in mirror.seen if seen.method == "HEAD" and WEIGHTS in seen.path]
    assert len(heads) <= 2  # one, and where its link leads
    assert mirror.bytes_sent < 0.5 * files[WEIGHTS].stat().st_size


def test_it_is_asked_once_for_a_file(mirror, folder):
    with open_checkpoint(REPO) as checkpoint:
        before = sum(seen.method == "HEAD" for seen in mirror.seen)
        assert_right(read_steps(checkpoint), folder)
        assert sum(seen.method == "HEAD" for seen in mirror.seen) == before


def test_a_whole_download_and_the_cache(hub, files, folder):
    hub.says_sizes = False
    hub.add_repo(REPO, files)
    with open_checkpoint(REPO, full_download=True) as checkpoint:
        assert checkpoint.localize() is checkpoint
    hub.forget()
    with open_checkpoint(REPO) as checkpoint:
        assert_right(read_steps(checkpoint), folder)
    assert [seen.method for seen in hub.seen] == ["GET"]  # what main is now
    with open_checkpoint(REPO, offline=True) as checkpoint:
        assert_right(read_steps(checkpoint), folder)


def test_shards(hub, tmp_path):
    shape = shapes.SMALL_MAMBA
    tensors = shapes.mamba(shape, original=False)
    config = shapes.mamba_config(shape, original=False)
    folder = shapes.write(tmp_path / "s", config, tensors, form="safetensors", shards=3)
    hub.says_sizes = False
    hub.add_repo(REPO, {path.name: path for path in folder.iterdir()})
    with open_checkpoint(REPO) as checkpoint:
        assert_right(read_steps(checkpoint), folder)


def test_a_file_is_known_by_its_content_without_its_size(hub, files):
    hub.says_sizes = False
    hub.add_repo(REPO, {"config.json": files["config.json"], "weights": files[WEIGHTS]})
    with open_checkpoint(REPO, file="weights") as checkpoint:
        assert checkpoint.tensors


@pytest.mark.parametrize(
    ("status", "headers", "error", "says"),
    [
        (404, {"X-Error-Code": "EntryNotFound"}, UsageError, r"no file 'model\.safetensors'"),
        (403, {"X-Error-Code": "GatedRepo"}, NetworkError, "gated repository"),
        (503, {}, NetworkError, r"asking for the size of model\.safetensors: the server answered"),
    ],
)
def test_a_refusal_is_told(hub, files, status, headers, error, says):
    hub.says_sizes = False
    hub.add_repo(REPO, files)
    hub.fail(WEIGHTS, 99, status=status, headers=headers)
    with pytest.raises(error, match=says):
        open_checkpoint(REPO)


def test_a_server_that_never_says_a_size(hub, files):
    hub.says_sizes = False
    hub.add_repo(REPO, files)
    hub.fail(WEIGHTS, 99, status=206, headers={"Content-Range": "bytes 0-0/*"})
    with pytest.raises(
        NetworkError, match=r"how large model\.safetensors of org/model is"
    ) as caught:
        open_checkpoint(REPO)
    assert caught.value.hint.startswith(f"hf download {REPO} {WEIGHTS}")


def test_a_server_that_ignores_ranges_is_told(hub, files):
    hub.says_sizes = False
    hub.add_repo(REPO, files)
    hub.fail(WEIGHTS, 99, kind="ignore_range")
    with pytest.raises(NetworkError, match="the server ignores byte ranges"):
        open_checkpoint(REPO)
