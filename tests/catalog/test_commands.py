"""`spectrakit catalog` on the command line: what it prints, its exit codes, what it leaves."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from spectrakit import catalog
from spectrakit.catalog.records import read_records
from tests.catalog.conftest import TINY, files


def test_list_shows_what_is_known(command, tiny):
    done = command("catalog", "list", "tiny*")
    lines = [line.split() for line in done.out.splitlines()]
    assert lines[0] == ["name", "repository", "size", "gated", "verified"]
    assert ["tiny-mamba", "bundled", "229K", "no", "-"] in lines
    assert ["tiny", "someone/tiny", "229K", "no", "never"] in lines
    assert done.err == "1 of 4 never verified; spectrakit catalog verify asks the Hub\n"


@pytest.mark.parametrize(
    ("options", "found"),
    [
        (("--max-size", "220K"), {"tiny-mamba2"}),
        (("--family", "mamba"), {"tiny-mamba", "tiny"}),
        (("--verified", "no"), {"tiny"}),
        (("--gated", "yes"), set()),
        (("--smallest",), set()),
    ],
)
def test_list_filters(command, tiny, options, found):
    done = command("catalog", "list", "tiny*", "--json", *options)
    assert {model["name"] for model in json.loads(done.out)["models"]} == found


def test_a_document_has_every_field(command, tiny):
    (model,) = json.loads(command("catalog", "list", "tiny", "--json").out)["models"]
    assert model == json.loads(command("catalog", "show", "someone/tiny", "--json").out)
    assert model["source"] == "someone/tiny"
    assert model["license"] == "MIT"
    assert model["record"] is None


@pytest.mark.parametrize("words", [("list", "tinny-mamba"), ("show", "tinny-mamba")])
def test_a_misspelt_name(command, words):
    done = command("catalog", *words)
    assert done.code == 2
    assert "did you mean tiny-mamba?" in done.err


def test_show_says_whether_it_was_verified(command, hub, tiny):
    assert "never; spectrakit catalog verify tiny" in command("catalog", "show", "tiny").out
    assert command("catalog", "verify", "tiny").code == 0
    shown = command("catalog", "show", "tiny").out
    record = read_records(tiny)["tiny"]
    assert f"{record.checked} at {hub.url}" in shown
    assert record.commit in shown
    assert f"{record.headers}, 3 layers of mamba" in shown
    assert command("catalog", "list", "tiny").out.split()[-1] == record.checked[:10]


def test_verify_tells_what_differs_and_goes_on(command, hub, own):
    text = TINY.format(name="bad", repo="no/such") + TINY.format(name="tiny", repo="someone/tiny")
    own("mamba", text)
    done = command("catalog", "verify", "bad", "tiny")
    assert done.code == 5
    bad, tiny = " ".join(done.out.split()).split(" ok ")
    assert bad.startswith("failed bad: there is no model no/such on the Hub")
    commit = hub.repos["someone/tiny"].sha[:12]
    assert tiny == f"tiny at {commit}: 3 layers of mamba, 229K parameters"
    assert "error: 1 of 2 not as the catalog says\n  try: spectrakit catalog show bad" in done.err
    assert "problem" in command("catalog", "show", "bad").out
    assert ", failed" in command("catalog", "list", "bad").out


def test_verify_as_a_document(command, hub, tiny):
    done = json.loads(command("catalog", "verify", "tiny", "--json").out)
    (each,) = done["verified"]
    assert (each["name"], each["status"], each["problems"]) == ("tiny", "ok", [])
    assert each["seen"]["commit"] == hub.repos["someone/tiny"].sha
    assert each["bytes_read"] < each["file_bytes"]
    assert done["recorded_in"] == str(tiny)


def test_verify_records_where_it_is_told_to(command, hub, tiny, tmp_path):
    assert command("catalog", "verify", "tiny", "--record", tmp_path / "tree").code == 0
    assert set(read_records(tmp_path / "tree")) == {"tiny"}
    assert read_records(tiny) == {}


def test_a_hub_that_cannot_be_reached(command, tiny, waits):
    done = command("catalog", "verify", "tiny")
    assert done.code == 6
    assert "cannot reach http://127.0.0.1:9" in done.err
    assert done.out.startswith("unanswered  tiny: ")


def test_an_interrupt_keeps_what_was_recorded(command, hub, own, monkeypatch):
    folder = own("mamba", "".join(
        TINY.format(name=f"m{n}", repo=f"someone/{n}") for n in range(3)
    ))  # fmt: skip
    for n in range(3):
        hub.add_repo(f"someone/{n}", files("tiny-mamba"))
    from spectrakit.verification import verifying

    see = verifying.see

    def interrupted(repo, *more):
        if repo == "someone/2":
            raise KeyboardInterrupt
        return see(repo, *more)

    monkeypatch.setattr(verifying, "see", interrupted)
    done = command("catalog", "verify", "m?")
    assert done.code == 130
    assert f"interrupted: 2 of 3 verified, and recorded in {folder}" in done.err
    assert set(read_records(folder)) == {"m0", "m1"}


def test_add_and_use(command, hub, own):
    done = command("catalog", "add", "someone/tiny", "--name", "mine")
    assert done.code == 0
    assert done.out == "mine: 3 layers of mamba, 229K parameters\n"
    assert "spectrakit analyze mine" in done.err
    assert catalog.find("mine").license == "mit"
    again = command("catalog", "add", "someone/tiny")
    assert again.code == 2
    assert "already, as mine" in again.err
    assert command("inspect", "mine").code == 0


def test_a_damaged_folder_of_the_user_s_stops_no_command(command, own):
    folder = own("mamba", "models = ")
    done = command("inspect", "tiny-mamba")
    assert done.code == 0
    assert f"warning: your own catalog entries are left out: the catalog file {folder}" in done.err


_OPENED = """
import sys
opened = []
sys.addaudithook(lambda event, args: opened.append(str(args[0])) if event == "open" else None)
sys.argv = ["spectrakit", {words}]
from spectrakit.cli import main
try: main()
except SystemExit: pass
sys.stderr.write(str([p for p in opened if p.endswith(".toml") and "models" in p]))
"""


def _family_files_opened_by(*words):
    done = subprocess.run(
        [sys.executable, "-c", _OPENED.format(words=str(list(words))[1:-1])],
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    return done.stderr.splitlines()[-1]


def test_help_reads_no_family_file():
    assert _family_files_opened_by("--help") == "[]"
    assert _family_files_opened_by("catalog", "verify", "--help") == "[]"
    assert "mamba.toml" in _family_files_opened_by("catalog", "show", "tiny-mamba")
