"""Claims: one driver at a time works on an entry, and the dead hold nothing."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest

from spectrakit.zoo import claims as module
from spectrakit.zoo.claims import Claims


@pytest.fixture
def folder(tmp_path):
    return tmp_path / ".claims"


def driver(folder, number, **changes):
    """What a driver of another process left."""
    told = {"host": "elsewhere", "boot": "b", "pid": 1, "began": "1", "beats": 1, **changes}
    folder.mkdir(exist_ok=True)
    (folder / f"driver-{number}.json").write_text(json.dumps(told))


def test_one_of_two_has_an_entry(folder):
    with Claims(folder, 1) as first, Claims(folder, 2) as second:
        assert first.take("a")
        assert not second.take("a")
        assert str(os.getpid()) in second.holder("a")
        first.drop("a")
        assert second.take("a")
    assert not folder.exists()


def test_the_folder_stays_while_another_is_at_work(folder):
    with Claims(folder, 2) as second:
        with Claims(folder, 1) as first:
            first.take("a")
        assert second.take("a")
    assert not folder.exists()


@pytest.mark.parametrize(
    "died",
    [
        {"pid": 1 << 22, "began": "1"},  # no such process
        {"pid": os.getpid(), "began": "1"},  # its id went to another
        {"pid": os.getpid(), "boot": "of an earlier boot"},
    ],
    ids=["gone", "reused", "rebooted"],
)
def test_a_driver_of_this_machine_that_died_holds_nothing(folder, died):
    driver(folder, 7, **(module._this_process() | died))
    (folder / "entry-a").write_text("7")
    with Claims(folder, 8) as claims:
        assert claims.holder("a") is None
        assert claims.others() == []
        assert claims.take("a")
    assert not folder.exists()


def test_a_claim_that_was_torn_or_whose_driver_is_unknown_holds_nothing(folder):
    folder.mkdir()
    for name, text in {"a": "", "b": "12", "c": "x"}.items():
        (folder / f"entry-{name}").write_text(text)
    (folder / "driver-3.json").write_text('{"pid"')
    with Claims(folder, 9) as claims:
        assert all(claims.take(name) for name in "abc")


def test_a_driver_that_was_killed_leaves_nothing_to_the_next(folder):
    code = (
        "import os, signal; from pathlib import Path; from spectrakit.zoo.claims import Claims\n"
        f"c = Claims(Path({str(folder)!r}), 1).__enter__(); c.take('a')\n"
        "os.kill(os.getpid(), signal.SIGKILL)"
    )
    subprocess.run([sys.executable, "-c", code], check=False)
    assert (folder / "entry-a").exists()
    with Claims(folder, 2) as claims:
        assert claims.take("a")
    assert not folder.exists()


def test_a_driver_on_another_machine_lives_as_long_as_its_count_rises(folder, monkeypatch):
    now = [0.0]
    monkeypatch.setattr(module.time, "monotonic", lambda: now[0])
    driver(folder, 1)
    (folder / "entry-a").write_text("1")
    with Claims(folder, 2) as claims:
        assert not claims.take("a")
        now[0] += module.SILENCE - 1
        driver(folder, 1, beats=2)
        assert not claims.take("a")
        now[0] += module.SILENCE - 1
        assert claims.holder("a") == "elsewhere, process 1"
        now[0] += 2
        assert claims.take("a")


def test_a_driver_beats_now_and_then_and_not_by_the_clock_of_the_day(folder, monkeypatch):
    now = [1000.0]
    monkeypatch.setattr(module.time, "monotonic", lambda: now[0])
    monkeypatch.setattr(module.time, "time", lambda: pytest.fail("the clock was asked"))
    with Claims(folder, 1) as claims:
        told = []
        for _ in range(4):
            claims.beat()
            told.append(json.loads((folder / "driver-1.json").read_text())["beats"])
            now[0] += module.BEAT * 0.6
        assert told == [1, 1, 2, 2]


def test_a_driver_in_a_container_of_this_machine_is_not_looked_for_among_our_processes(folder):
    driver(folder, 1, **(module._this_process() | {"pid": 1 << 22, "namespace": "pid:[1]"}))
    folder.joinpath("entry-a").write_text("1")
    with Claims(folder, 2) as claims:
        assert not claims.take("a")


def test_a_claim_that_another_took_over_stays_his(folder):
    with Claims(folder, 1) as first, Claims(folder, 2) as second:
        assert first.take("a")
        second.path("a").write_text("2")
        first.drop("a")
        assert str(os.getpid()) in second.holder("a")
        second._held.add("a")


def interrupted(*_):
    raise KeyboardInterrupt


@pytest.mark.parametrize("instead_of", ["write", "close"])
def test_a_claim_in_whose_midst_the_driver_is_interrupted_does_not_stay(
    folder, monkeypatch, instead_of
):
    with Claims(folder, 1) as claims, monkeypatch.context() as patched:
        patched.setattr(module.os, instead_of, interrupted)
        with pytest.raises(KeyboardInterrupt):
            claims.take("a")
    assert not folder.exists()


def test_a_beat_in_whose_midst_the_driver_is_interrupted_leaves_no_file(folder, monkeypatch):
    with Claims(folder, 1) as claims:
        monkeypatch.setattr(module, "BEAT", 0.0)
        with monkeypatch.context() as patched:
            patched.setattr(module.Path, "replace", interrupted)
            with pytest.raises(KeyboardInterrupt):
                claims.beat()
    assert not folder.exists()
