"""An author's models and collections, listed by a Hub that may be slow, hostile or far away."""

from __future__ import annotations

import json

import pytest

from spectrakit.checkpoints.access import HubAccess
from spectrakit.errors import NetworkError, UsageError
from spectrakit.spec import RunSpec
from spectrakit.zoo import hub_listing
from spectrakit.zoo.hub_names import HubName, hub_name
from spectrakit.zoo.selection import select

BASE = RunSpec(model="")
TOKEN = "hf_" + "s3cret" * 6


def models(*targets, **access):
    return [e.spec.model for e in select(targets, BASE, access=HubAccess(**access))]


@pytest.fixture
def zoo(hub):
    """An author of seven models, another of one, and a collection."""
    for number in (3, 1, 2, 10):
        hub.add_repo(f"org/mamba-{number}", {})
    for name in ("Zeta", "alpha", "llama"):
        hub.add_repo(f"org/{name}", {})
    hub.add_repo("organ/other", {})
    items = [("model", "org/llama"), ("dataset", "org/text"), ("model", "a/b"), ("paper", "2405.1")]
    hub.add_collection("org/small-models-64f9a55bb3115b4f513ec026", items)
    return hub


# --- what is found ------------------------------------------------------------------------------


@pytest.mark.parametrize("page_size", [1, 2, 3, 7, 500])
def test_an_author_page_by_page(zoo, page_size):
    zoo.page_size = page_size
    own = [name for name in zoo.repos if name.startswith("org/")]
    assert models("hf://org") == sorted(own, key=str.lower)
    assert zoo.requests == -(-len(own) // page_size)


def test_a_pattern_of_an_authors_models(zoo):
    assert models("hf://org/*MAMBA-?") == ["org/mamba-1", "org/mamba-2", "org/mamba-3"]


def test_a_collection_in_its_order(zoo, notes):
    slug = "org/small-models-64f9a55bb3115b4f513ec026"
    assert models(f"hf://collections/{slug}") == ["org/llama", "a/b"]
    assert f"2 items of the collection {slug} left out: not models" in notes()
    assert models(f"https://huggingface.co/collections/{slug}") == ["org/llama", "a/b"]


def test_a_revision_is_of_every_model(zoo):
    entries = select(["hf://org/mamba-*@step10"], BASE)
    assert {entry.spec.revision for entry in entries} == {"step10"}
    assert {entry.name for entry in entries} == {
        f"org--mamba-{number}@step10" for number in (1, 2, 3, 10)
    }


def test_a_list_may_name_an_author(zoo, here):
    (here / "zoo.csv").write_text("model,seed\nhf://organ,7\n")
    (entry,) = select(["zoo.csv"], BASE)
    assert (entry.name, entry.spec.model, entry.spec.seed) == ("organ--other", "organ/other", 7)


def test_a_listed_model_is_never_a_local_folder(zoo, here):
    (here / "organ" / "other").mkdir(parents=True)
    assert models("hf://organ") == ["hf://organ/other"]


@pytest.mark.parametrize(
    ("address", "meaning"),
    [
        ("hf://org", HubName("author", "org")),
        ("hf://org/", HubName("author", "org")),
        ("https://huggingface.co/org", HubName("author", "org")),
        ("https://hf.co/org/model", HubName("model", "org/model")),
        ("HF://org/model@v1", HubName("model", "org/model", None, "v1")),
        ("hf://org/model@refs/pr/3", HubName("model", "org/model", None, "refs/pr/3")),
        ("https://huggingface.co/org/model/tree/v1", HubName("model", "org/model", None, "v1")),
        (
            "https://huggingface.co/org/model/tree/refs%2Fpr%2F3",
            HubName("model", "org/model", None, "refs/pr/3"),
        ),
        ("hf://org/model/a/b.pth@v1", HubName("model", "org/model", None, "v1", "a/b.pth")),
        (
            "https://huggingface.co/org/model/blob/main/a/b.pth",
            HubName("model", "org/model", None, "main", "a/b.pth"),
        ),
        ("hf://org/*b?[0-9]", HubName("author", "org", "*b?[0-9]")),
        ("hf://collections/org/title-64f9", HubName("collection", "org/title-64f9")),
    ],
)
def test_what_an_address_means(address, meaning):
    assert hub_name(address) == meaning


# --- what is not --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "address",
    [
        "hf://",
        "hf:///x",
        "hf://a/b/../c.pth",
        "hf://a/b//c.pth",
        "https://huggingface.co/a/b/discussions",
        "hf://../x",
        "hf://org/..",
        "hf://org/a--b",
        "hf://org/\x1bm",
        "hf://collections",
        "hf://collections/org",
        "hf://collections/org/..",
        "hf://collections/org/title@v1",
        "https://example.com/org",
        "https://[::1",
        "https://huggingface.co",
        "https://huggingface.co/datasets/org/text",
        "https://huggingface.co/spaces",
        "http://huggingface.co.example.com/org/model",
    ],
)
def test_an_address_that_means_no_models(hub, address):
    with pytest.raises(UsageError, match="is not"):
        models(address)
    assert hub.requests == 0


def test_an_author_without_models(zoo):
    with pytest.raises(UsageError, match="there are no models of orb on the Hub") as caught:
        models("hf://orb")
    assert "orb@main" in caught.value.hint
    assert models("orb@main") == ["orb"]  # as the hint says


def test_a_pattern_that_no_model_matches(zoo):
    with pytest.raises(UsageError, match=r"no model of org matches 'x\*'") as caught:
        models("hf://org/x*")
    assert caught.value.hint == "all of them: hf://org"


def test_a_pattern_that_nearly_matches(zoo):
    with pytest.raises(UsageError, match=r"no model of org matches '\*lama2'") as caught:
        models("hf://org/*lama2")
    assert caught.value.hint == "did you mean org/llama?"


def test_an_unknown_collection(zoo):
    with pytest.raises(UsageError, match="no collection org/none on the Hub, or it is private"):
        models("hf://collections/org/none")


def test_a_collection_without_models(hub):
    hub.add_collection("org/papers", [("paper", "2405.1")])
    with pytest.raises(UsageError, match="no models in the collection org/papers"):
        models("hf://collections/org/papers")


# --- the network --------------------------------------------------------------------------------


@pytest.mark.parametrize("target", ["hf://org", "hf://org/*", "hf://collections/org/papers"])
@pytest.mark.parametrize("way", ["argument", "environment"])
def test_offline(zoo, monkeypatch, target, way):
    if way == "environment":
        monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(NetworkError, match="the network is not to be used"):
        models(target, offline=True if way == "argument" else None)
    assert zoo.requests == 0


def test_a_hub_that_cannot_be_reached(monkeypatch, waits):
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    with pytest.raises(NetworkError, match=r"cannot reach http://127\.0\.0\.1:9"):
        models("hf://org")


def test_an_endpoint_that_is_none(monkeypatch):
    monkeypatch.setenv("HF_ENDPOINT", "ftp://example.com")
    with pytest.raises(UsageError, match="HF_ENDPOINT"):
        models("hf://org")


def test_a_page_is_asked_for_again(zoo, waits):
    zoo.page_size = 3
    zoo.fail("/api/models", 2, status=503)
    assert len(models("hf://org")) == 7
    assert len(waits) == 2


def test_a_hub_that_is_out_of_order(zoo, waits):
    zoo.fail("/api/models", 99, status=500)
    with pytest.raises(NetworkError, match="the models of org: the server answered 500"):
        models("hf://org")


@pytest.mark.parametrize("target", ["hf://org", "hf://collections/org/papers"])
def test_a_token_is_sent_and_never_shown(zoo, target):
    with pytest.raises(NetworkError, match="the Hub does not accept the token") as caught:
        models(target, token=TOKEN)
    assert TOKEN not in f"{caught.value}{caught.value.hint}"
    assert zoo.seen[0].authorization == f"Bearer {TOKEN}"


def test_private_models_with_a_token(zoo):
    zoo.tokens.add(TOKEN)
    zoo.add_repo("org/secret", {}, private=True)
    assert "org/secret" not in models("hf://org")
    assert "org/secret" in models("hf://org", token=TOKEN)


def test_the_token_stays_with_the_endpoint(zoo):
    """A mirror passes the Hub's own links on: the next page is asked of the mirror."""
    zoo.tokens.add(TOKEN)
    elsewhere = "https://hub.example/api/models?author=org&cursor=5&limit=2"
    body = json.dumps([{"id": "org/first"}]).encode()
    zoo.answers["/api/models"] = (body, {"Link": f'<{elsewhere}>; rel="next"'})
    hub_pages = hub_listing.MOST_PAGES
    with pytest.raises(NetworkError, match="too many models of org"):
        models("hf://org", token=TOKEN)
    assert zoo.requests == hub_pages
    assert zoo.seen[1].path == "/api/models?author=org&cursor=5&limit=2"


# --- hostile answers ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"<html>",
        b"null",
        b"3",
        b"{}",
        b'["org/a"]',
        b"[" * 100_000,
        b"\xff\xfe",
        b'[{"id": 1}, null]',
    ],
)
@pytest.mark.parametrize(
    ("target", "path"),
    [("hf://org", "/api/models"), ("hf://collections/org/x", "/api/collections/org/x")],
)
def test_an_answer_that_is_no_list(hub, target, path, body):
    hub.answers[path] = (body, {})
    with pytest.raises((NetworkError, UsageError), match="no list|no models"):
        models(target)


def test_names_that_are_none_are_left_out(hub):
    names = ["org/good", "../../etc", "org/../x", "other/model", "org/a b", "org/\x1b[31m", "", 3]
    hub.answers["/api/models"] = (json.dumps([{"id": name} for name in names]).encode(), {})
    assert models("hf://org") == ["org/good"]
    items = [{"type": "model", "id": name} for name in names]
    body = json.dumps({"items": [*items, "x", None]}).encode()
    hub.answers["/api/collections/org/x"] = (body, {})
    assert models("hf://collections/org/x") == ["org/good", "other/model"]


def test_an_answer_that_does_not_end(hub, monkeypatch):
    monkeypatch.setattr(hub_listing, "MOST_PAGE_BYTES", 10_000)
    hub.answers["/api/models"] = (b"[" + b" " * 20_000 + b"]", {})
    with pytest.raises(NetworkError, match="does not end"):
        models("hf://org")


def test_more_models_than_a_batch_has(hub, monkeypatch):
    monkeypatch.setattr(hub_listing, "MOST_ENTRIES", 10)
    for number in range(30):
        hub.add_repo(f"org/model-{number}", {})
    hub.page_size = 6
    with pytest.raises(NetworkError, match="too many models of org"):
        models("hf://org")
    assert hub.requests == 2
