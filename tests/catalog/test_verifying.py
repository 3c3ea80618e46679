"""Entries against a Hub: what is compared, what is recorded, and that one failure ends nothing."""

from __future__ import annotations

from dataclasses import replace

import pytest

from spectrakit import catalog
from spectrakit.catalog.filters import selected
from spectrakit.catalog.records import read_records, record_of
from spectrakit.checkpoints import open_checkpoint
from spectrakit.errors import MalformedError, NetworkError, UsageError
from spectrakit.verification import verify
from tests.catalog.conftest import TINY, files, original


def verified(names, access, into, **options):
    return list(verify(selected(names), access, into=into, **options))


def test_an_entry_that_is_as_it_says(hub, tiny, access):
    (done,) = verified(["tiny"], access, tiny)
    assert (done.entry.name, done.status, done.problems) == ("tiny", "ok", ())
    seen = read_records(tiny)["tiny"]
    assert seen == done.sight.record == record_of(catalog.find("tiny"))
    assert (seen.repo, seen.endpoint) == ("someone/tiny", hub.url)
    assert seen.commit == hub.repos["someone/tiny"].sha
    assert (seen.license, seen.gated) == ("mit", False)
    assert (seen.architecture, seen.families[0]) == ("transformers-mamba", "mamba")
    assert (seen.layers, seen.kinds) == (3, ("mamba",))
    assert (seen.parameters, seen.weights_bytes) == (229440, 39168)
    with open_checkpoint("tiny-mamba") as bundled:
        assert seen.headers == bundled.headers_fingerprint
        assert bundled.bytes_read < done.sight.bytes_read
    assert done.sight.file_bytes == files("tiny-mamba")["model.safetensors"].stat().st_size


def test_only_headers_are_read(hub, tiny, access):
    (done,) = verified(["tiny"], access, None)
    assert hub.bytes_sent == done.sight.bytes_read < done.sight.file_bytes / 10


def test_headers_are_those_of_the_files_wherever_they_are(hub, tiny, access, own, tmp_path):
    hub.add_repo("someone/original", original(tmp_path / "o"))
    own("mamba-ssm", TINY.format(name="zip", repo="someone/original").replace("MIT", "mit"))
    (done,) = verified(["zip"], access, None)
    assert done.status == "ok"
    assert done.sight.record.families == ("mamba-ssm",)
    with open_checkpoint(tmp_path / "o") as local:
        assert done.sight.record.headers == local.headers_fingerprint


@pytest.mark.parametrize(
    ("said", "changed", "problem"),
    [
        ('"MIT"', '"Apache-2.0"', "its licence is mit, the entry says Apache-2.0"),
        ("gated = false", "gated = true", "it is not gated, the entry says it is"),
        ("= 229440", "= 300000", "it has 229,440 parameters, the entry says 300,000"),
        ("= 39168", "= 39164", "weights mode reads 39,168 bytes, the entry says 39,164"),
        ("= 229440", "= 250000", None),  # published numbers are rounded
        ('license = "MIT"', "", None),
        ("gated = false", "", None),
    ],
)
def test_what_the_entry_says_is_compared(hub, own, access, said, changed, problem):
    text = TINY.format(name="tiny", repo="someone/tiny")
    assert said in text
    folder = own("mamba", text.replace(said, changed))
    (done,) = verified(["tiny"], access, folder)
    assert done.problems == (() if problem is None else (problem,))
    assert done.status == ("ok" if problem is None else "failed")
    assert read_records(folder)["tiny"].problems == done.problems


def test_the_family_is_compared(hub, own, access):
    folder = own("falcon_mamba", TINY.format(name="tiny", repo="someone/tiny"))
    (done,) = verified(["tiny"], access, folder)
    assert done.problems == ("it is read as mamba, the entry says falcon_mamba",)


def test_a_model_that_nothing_reads(hub, tiny, access):
    changed = files("tiny-mamba") | {"config.json": b'{"model_type": "no-such-model"}'}
    hub.add_repo("someone/tiny", changed, card={"license": "mit"})
    (done,) = verified(["tiny"], access, tiny)
    assert done.status == "failed"
    assert "no-such-model" in done.problems[0]
    assert read_records(tiny)["tiny"].commit == hub.repos["someone/tiny"].sha


def test_other_headers_are_told_until_they_are_accepted(hub, tiny, access):
    verified(["tiny"], access, tiny)
    first = read_records(tiny)["tiny"]
    config = files("tiny-mamba")["config.json"].read_bytes()
    hub.add_repo(
        "someone/tiny",
        files("tiny-mamba") | {"config.json": config + b" "},
        card={"license": "mit"},
    )
    for _ in range(2):
        (done,) = verified(["tiny"], access, tiny)
        now, then = done.sight.record.commit[:12], first.commit[:12]
        problem = f"its headers are others at commit {now} than at {then}, seen "
        assert done.problems[0].startswith(problem)
        kept = read_records(tiny)["tiny"]
        assert (kept.commit, kept.headers) == (first.commit, first.headers)
        assert kept.problems == done.problems
    (done,) = verified(["tiny"], access, tiny, accept=True)
    assert done.status == "ok"
    assert read_records(tiny)["tiny"] == done.sight.record != first


def test_another_commit_with_the_same_headers_is_well(hub, tiny, access):
    verified(["tiny"], access, tiny)
    hub.add_repo("someone/tiny", files("tiny-mamba") | {"README.md": b"-"}, card={"license": "mit"})
    (done,) = verified(["tiny"], access, tiny)
    assert done.status == "ok"
    assert read_records(tiny)["tiny"].commit == hub.repos["someone/tiny"].sha


def test_a_repository_that_is_gone_keeps_what_was_seen(hub, tiny, access):
    verified(["tiny"], access, tiny)
    first = read_records(tiny)["tiny"]
    del hub.repos["someone/tiny"]
    (done,) = verified(["tiny"], access, tiny)
    assert (done.status, done.sight) == ("failed", None)
    assert "there is no model someone/tiny on the Hub" in done.problems[0]
    kept = read_records(tiny)["tiny"]
    assert replace(kept, problems=(), checked=first.checked) == first


def test_a_repository_that_never_was(hub, own, access):
    folder = own("mamba", TINY.format(name="never", repo="no/such"))
    (done,) = verified(["never"], access, folder)
    assert done.status == "failed"
    assert read_records(folder)["never"].commit is None


def test_gated_files(hub, own, access):
    hub.add_repo("someone/tiny", files("tiny-mamba"), gated=True, card={"license": "mit"})
    folder = own("mamba", TINY.format(name="tiny", repo="someone/tiny"))
    (done,) = verified(["tiny"], access, folder)
    assert done.status == "failed"
    assert done.problems[0] == "it is gated, the entry says it is not"
    assert "gated repository" in done.problems[1]
    text = TINY.format(name="tiny", repo="someone/tiny").replace("gated = false", "gated = true")
    own("mamba", text)
    (done,) = verified(["tiny"], access, folder)
    assert (done.status, done.sight.record.headers) == ("ok", None)
    hub.tokens.add("hf_" + "x" * 34)
    (done,) = verified(["tiny"], replace(access, token="hf_" + "x" * 34), folder)
    assert (done.status, done.sight.record.layers) == ("ok", 3)
    assert "hf_x" not in (folder / "verified.json").read_text()


def test_one_failure_does_not_end_the_rest(hub, own, access):
    hub.fail("someone/busy", 99, status=503)
    entries = (("bad", "no/such"), ("busy", "someone/busy"), ("tiny", "someone/tiny"))
    folder = own("mamba", "".join(TINY.format(name=n, repo=r) for n, r in entries))
    done = verified(["bad", "busy", "tiny"], access, folder)
    assert [each.status for each in done] == ["failed", "unanswered", "ok"]
    assert set(read_records(folder)) == {"bad", "tiny"}  # of the other nothing was seen


def test_a_hub_that_falls_silent_is_not_asked_for_ever(hub, own, access):
    repos = ["someone/tiny", *(f"a/{n}" for n in range(5))]
    hub.fail("/api/models/a/", 999, status=503)
    entries = (TINY.format(name=f"m{n}", repo=repo) for n, repo in enumerate(repos))
    folder = own("mamba", "".join(entries))
    done = verified(["m?"], access, folder)
    assert [each.status for each in done] == ["ok", *["unanswered"] * 5]
    assert [each.problems[0].startswith("not asked") for each in done[1:]] == [
        False, False, False, True, True,
    ]  # fmt: skip
    asked = {seen.path.partition("?")[0] for seen in hub.seen if "/a/" in seen.path}
    assert len(asked) == 3


def test_a_hub_that_cannot_be_reached_is_told_at_once(tiny, access, waits):
    with pytest.raises(NetworkError, match="cannot reach http://127.0.0.1:9") as caught:
        verified(["tiny", "mamba-130m"], access, tiny)
    assert caught.value.hint == "check the connection, and HF_ENDPOINT"
    assert read_records(tiny) == {}


@pytest.mark.parametrize("variable", ["HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE"])
def test_offline_nothing_is_asked(hub, tiny, access, monkeypatch, variable):
    monkeypatch.setenv(variable, "1")
    with pytest.raises(NetworkError, match="offline"):
        verified(["tiny"], access, tiny)
    assert hub.requests == 0


def test_an_address_that_is_none_is_told(tiny, access, monkeypatch):
    monkeypatch.setenv("HF_ENDPOINT", "ftp://hub")
    with pytest.raises(UsageError, match="HF_ENDPOINT"):
        verified(["tiny"], access, tiny)


def test_damaged_records_are_told_before_anything_is_asked(hub, tiny, access):
    (tiny / "verified.json").write_text("{")
    with pytest.raises(MalformedError, match=r"verified\.json"):
        verified(["tiny"], access, tiny)
    assert hub.requests == 0


def test_bundled_models_are_compared_with_their_files_without_a_hub(tmp_path, access):
    done = verified(["tiny-*"], access, tmp_path / "records")
    assert [each.status for each in done] == ["ok"] * 3
    assert not (tmp_path / "records").exists()


@pytest.mark.parametrize(
    ("card", "said"),
    [
        ({"license": "other", "license_name": "falcon-llm-license"}, "falcon-llm-license"),
        ({"license": "other"}, "other"),
        ({"license": ["mit", "apache-2.0"]}, "mit, apache-2.0"),
        ({"license": {"a": 1}}, None),
        ({"license": "x" * 999}, None),
        ({"license": "\x1b[31mmit"}, "\\x1b[31mmit"),
        ({}, None),
    ],
)
def test_licences_as_cards_have_them(hub, own, access, card, said):
    hub.add_repo("someone/tiny", files("tiny-mamba"), card=card)
    folder = own("mamba", TINY.format(name="tiny", repo="someone/tiny").replace("license", "#"))
    (done,) = verified(["tiny"], access, folder)
    assert read_records(folder)["tiny"].license == done.sight.record.license == said


def test_hostile_configs_reach_no_terminal(hub, tiny, access):
    config = (
        files("tiny-mamba")["config.json"].read_text().replace('"mamba"', '"\\u001b[2J../../x"')
    )
    hub.add_repo("someone/tiny", files("tiny-mamba") | {"config.json": config.encode()})
    (done,) = verified(["tiny"], access, tiny)
    assert done.status == "failed"
    assert "\x1b" not in (tiny / "verified.json").read_text() + str(done)
