"""Batches on the workers of a Dask cluster: real processes, some of which are killed."""

from __future__ import annotations

import json
import logging
import socket
import threading
from dataclasses import replace
from types import SimpleNamespace

import pytest

import spectrakit as sk
from spectrakit.errors import NetworkError, UsageError
from spectrakit.zoo.batch import Invocation, run_batch
from spectrakit.zoo.dask_resources import Resources, measured_here
from spectrakit.zoo.driver import Driver, Template
from spectrakit.zoo.entries import Entry
from spectrakit.zoo.executors import Local, message
from spectrakit.zoo.folder import BatchFolder
from spectrakit.zoo.job import Job, Limits
from spectrakit.zoo.options import BatchOptions
from spectrakit.zoo.sorting import sort_entries
from spectrakit.zoo.supervisor import end_children, supervise, versions
from spectrakit.zoo.watch import Unwatched
from tests.support.dask_cluster import DaskCluster, free_port, kill, until

pytest.importorskip("distributed")
from spectrakit.zoo.dask_cluster import check_address, check_versions, numerical_differences
from spectrakit.zoo.dask_workers import DaskWorkers

JOB = Job("", {}, "", "")


@pytest.fixture
def cluster(tmp_path):
    folder = tmp_path / "cluster"
    folder.mkdir()
    made = DaskCluster(folder)
    yield made
    made.close()


@pytest.fixture
def lines(caplog):
    """What a user is told."""
    caplog.set_level(logging.WARNING, "spectrakit")
    return lambda: [record.getMessage() for record in caplog.records if record.name == "spectrakit"]


class Watching(Unwatched):
    """Counts what ended, and calls `tick` when some time has passed."""

    def __init__(self, tick=lambda: None):
        self.again, self.heard = [], []
        self.tick = tick

    def news(self, name, what, *_):
        self.heard.append(what)

    def ended(self, outcome, *, again):
        if again:
            self.again.append(outcome)


def weights(count):
    return [
        Entry(f"m{number}", sk.RunSpec(model="tiny-mamba", mode="weights", seed=number))
        for number in range(count)
    ]


def run(path, entries, place, watch=None, job=JOB):
    folder = BatchFolder(path)
    folder.make()
    todo = sort_entries(folder, entries).todo
    driver = Driver(folder, Template(job), place, watch or Watching())
    return driver.run(todo, "", len(entries))


def events(path, event):
    text = "".join(file.read_text() for file in sorted((path / "journal").iterdir()))
    return [line for line in map(json.loads, text.splitlines()) if line["event"] == event]


def tables(path):
    """Every file of every run but run.json, which says when it was."""
    files = sorted((path / "runs").rglob("*.parquet"))
    return {str(file.relative_to(path)): file.read_bytes() for file in files}


@pytest.mark.slow
def test_the_tables_are_those_of_this_machine_alone(cluster, tmp_path):
    short = sk.TokenOptions(max_tokens=128, seq_len=64)
    data = {"mode": "data", "source": short}
    entries = [
        *weights(2),
        Entry("mamba2", sk.RunSpec(model="tiny-mamba2", mode="weights", analyses=("memory",))),
        Entry("llama", sk.RunSpec(model="tiny-llama", analyses=("spectrum", "memory"), **data)),
        Entry("nothing", sk.RunSpec(model=str(tmp_path / "nothing"))),
    ]
    cluster.scheduler()
    cluster.worker("--nanny", threads=2)
    place, watch = DaskWorkers(cluster.address), Watching()
    ended = run(tmp_path / "dask", entries, place, watch)
    assert (ended.computed, ended.kept, list(ended.failed)) == (4, 0, ["nothing"])
    assert watch.heard
    alone = run(tmp_path / "local", entries, Local(2))
    assert alone.computed == 4
    found = tables(tmp_path / "dask")
    assert found == tables(tmp_path / "local")
    assert len(found) > 12
    assert ended.failed["nothing"].reason == alone.failed["nothing"].reason
    again = sort_entries(BatchFolder(tmp_path / "dask"), entries)
    assert (again.todo, list(again.failed)) == ([], ["nothing"])


@pytest.mark.slow
def test_a_worker_that_is_killed_takes_only_what_it_ran(cluster, tmp_path, lines):
    cluster.scheduler()
    first, second = cluster.worker(gated=True), cluster.worker(gated=True)
    # Four at once on two threads: two of them wait on the workers, and are not to blame.
    place = DaskWorkers(cluster.address)

    def tick():
        if first.poll() is None:
            cluster.begun(first, second)
            kill(first)
            cluster.gate.touch()

    watch = Watching(tick)
    ended = run(tmp_path / "d", weights(5), place, watch)
    assert (ended.computed, ended.kept, ended.failed) == (5, 0, {})
    [lost] = watch.again
    assert (lost.failure, lost.exit_code) == ("lost", 1)
    assert lost.reason.startswith("the Dask worker at tcp://")
    assert len(events(tmp_path / "d", "retried")) == 1
    assert second.poll() is None


@pytest.mark.slow
def test_a_scheduler_that_is_killed_and_comes_back(cluster, tmp_path, lines):
    scheduler = cluster.scheduler()
    worker = cluster.worker(gated=True)
    place = DaskWorkers(cluster.address, timeout=5)

    def tick():
        if scheduler.poll() is None:
            cluster.begun(worker)
            kill(scheduler)
            cluster.gate.touch()  # the worker finishes what it has begun, and then it ends
            until(lambda: worker.poll() is not None, cluster.logs())
            cluster.scheduler()
            cluster.worker(threads=2)

    ended = run(tmp_path / "d", weights(4), place, watch := Watching(tick))
    assert (ended.computed, ended.kept, ended.failed) == (3, 1, {})
    assert not watch.again
    assert [len(events(tmp_path / "d", event)) for event in ("started", "finished")] == [4, 4]
    told = [line for line in lines() if "lost" in line]
    assert told == [
        f"the Dask scheduler at {cluster.address} was lost: trying to reach it for 5 minutes"
    ]


@pytest.mark.slow
def test_a_scheduler_that_stays_away_ends_the_batch(cluster, tmp_path):
    scheduler = cluster.scheduler()
    worker = cluster.worker(gated=True)
    place = DaskWorkers(cluster.address, timeout=1, patience=1)

    def tick():
        if scheduler.poll() is None:
            cluster.begun(worker)
            kill(scheduler)

    with pytest.raises(NetworkError, match=r"was lost and did not come back") as caught:
        run(tmp_path / "d", weights(2), place, Watching(tick))
    assert caught.value.hint == "the same command again goes on where it was left"
    assert len(events(tmp_path / "d", "stopped")) == 1
    assert not (tmp_path / "d" / ".claims").exists()


@pytest.mark.slow
def test_a_cluster_that_somebody_restarts(cluster, tmp_path):
    from distributed import Client

    cluster.scheduler()
    cluster.worker("--nanny", gated=True, threads=2)
    place = DaskWorkers(cluster.address)

    def tick():
        if not cluster.gate.exists():
            until(lambda: list(cluster.folder.glob("gate.*")), cluster.logs())
            with Client(cluster.address, set_as_default=False) as other:
                other.restart(wait_for_workers=False)
            cluster.gate.touch()

    ended = run(tmp_path / "d", weights(3), place, watch := Watching(tick))
    assert (ended.computed + ended.kept, ended.failed, watch.again) == (3, {}, [])


def test_nothing_is_made_where_no_cluster_is_asked_for_rightly(tmp_path):
    for scheduler, token, told in (
        ("nowhere", None, "is not an address"),
        ("tcp://h:1", "hf_secret", "token is not sent"),
    ):
        how, options = Invocation(hub={"token": token}), BatchOptions(scheduler=scheduler)
        with pytest.raises(UsageError, match=told):
            run_batch(weights(1), tmp_path / "d", options, how, Watching())
        assert not (tmp_path / "d").exists()


@pytest.mark.slow
def test_children_end_with_the_driver(cluster, tmp_path):
    import psutil

    cluster.scheduler()
    worker = psutil.Process(cluster.worker().pid)
    (tmp_path / "text").write_text("To be, or not to be. " * 100_000)
    long = sk.TokenOptions(text=str(tmp_path / "text"), max_tokens=1 << 24, seq_len=256)
    entry = Entry("long", sk.RunSpec(model="tiny-llama", mode="data", source=long))
    place = DaskWorkers(cluster.address)

    def children():
        """What a fork server under the worker has forked."""
        servers = [each for each in worker.children() if "zoo.forkserver" in str(each.cmdline())]
        return [child for server in servers for child in server.children()]

    def tick():
        if "running the model" in watch.heard:
            assert children()
            raise KeyboardInterrupt

    watch = Watching(tick)
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path / "d", [entry], place, watch)
    assert not children()
    assert worker.is_running()
    assert BatchFolder(tmp_path / "d").finished("long") is None
    assert len(events(tmp_path / "d", "interrupted")) == 1


def test_a_worker_with_another_version_is_named(cluster):
    cluster.scheduler()
    cluster.worker(OTHER_VERSION="0.0.7")
    place = connected_when(cluster)
    with pytest.raises(UsageError, match="the Dask worker at tcp://.* has spectrakit 0.0.7, not"):
        place()


def connected_when(cluster):
    """Connect once there is a worker."""
    from distributed import Client

    with Client(cluster.address, set_as_default=False) as client:
        client.wait_for_workers(1, timeout=60)
    return lambda: DaskWorkers(cluster.address)


def test_a_worker_without_spectrakit_is_named(cluster):
    cluster.scheduler()
    cluster.worker(WITHOUT_SPECTRAKIT="1")
    place = connected_when(cluster)
    with pytest.raises(UsageError, match="the Dask worker at tcp://.* cannot import spectrakit"):
        place()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("environment", "told"),
    [
        ({"OTHER_VERSION": "0.0.7"}, "the worker on .* has spectrakit 0.0.7, not"),
        ({"WITHOUT_SPECTRAKIT": "1"}, "a Dask worker at tcp://.* cannot import spectrakit"),
    ],
)
def test_a_worker_that_joins_later_is_asked_as_well(cluster, tmp_path, environment, told):
    cluster.scheduler()
    place = DaskWorkers(cluster.address)
    cluster.worker(**environment)
    with pytest.raises(UsageError, match=told):
        run(tmp_path / "d", weights(1), place)


def asked(**others):
    """A client whose worker has these versions, and else what this process has."""
    own = {"python": "3.11.7.final.0", "dask": "2026.8.0", "distributed": "2026.8.0",
           "msgpack": "1.2.4", "torch": "2.13.0+cpu", "transformers": "5.16", "numpy": "2.4.6",
           "scipy": "1.17.0"}  # fmt: skip
    of = {"client": own, "scheduler": own, "workers": {"tcp://w:1": own | others}}
    told = {
        side: {place: {"packages": found} for place, found in packages.items()}
        if side == "workers"
        else {"packages": packages}
        for side, packages in of.items()
    }
    return SimpleNamespace(
        get_versions=lambda packages: told,
        run=lambda *_, **__: {"tcp://w:1": versions()},
    )


@pytest.mark.parametrize(
    ("name", "theirs", "told"),
    [
        ("python", "3.12.1.final.0", "the Dask worker at tcp://w:1 has Python 3.12, not 3.11"),
        ("distributed", "2026.7.0", "has distributed 2026.7.0, not 2026.8.0"),
        ("msgpack", "2.0.0", "has msgpack 2, not 1"),
    ],
)
def test_versions_that_tasks_are_sent_with(name, theirs, told):
    with pytest.raises(UsageError, match=told):
        check_versions(asked(**{name: theirs}), "tcp://s:1")


def test_versions_that_change_nothing(lines):
    alike = asked(python="3.11.9.final.0", msgpack="1.1.0", torch="2.13.0+cu130")
    check_versions(alike, "tcp://s:1")
    assert not list(numerical_differences(alike))
    [line] = numerical_differences(asked(torch="2.12.0"))
    assert (
        line == "the Dask worker at tcp://w:1 has torch 2.12.0, not 2.13.0: last digits may differ"
    )


@pytest.mark.slow
def test_what_is_refused_before_it_is_sent(cluster, tmp_path, lines):
    cluster.scheduler()
    place = DaskWorkers(cluster.address)
    try:
        assert lines() == [f"no workers at {cluster.address}: waiting for some"]
        few = place.slots
        with pytest.raises(UsageError, match="not sent to the workers") as caught:
            place.submit(replace(JOB, hub={"token": "hf_secret"}), lambda *_: None)
        assert "HF_TOKEN" in caught.value.hint
        cluster.worker("--resources", "memory=1e6 GPU=1", threads=4)
        until(lambda: place.slots > few, "the worker's threads")
        # Of a folder that is not there on the worker.
        elsewhere = replace(JOB, name="m", claim=str(tmp_path / "no" / ".claims" / "entry-m"))
        future = place.submit(replace(elsewhere, task="measure"), lambda *_: None)
        with pytest.raises(UsageError, match=f"{socket.gethostname()} does not see"):
            place.outcome_of("m", future.exception(timeout=60))
        # More memory than any worker declares.
        spec = sk.RunSpec(model="tiny-mamba", mode="weights").record()
        heavy = replace(JOB, name="m", spec=spec, folder=str(tmp_path / "m"))
        future = place.submit(heavy, lambda *_: None)
        outcome = future.result(timeout=60)
        assert (outcome["failure"], outcome["exit_code"]) == ("memory", 1)
        assert "no worker declares more than 0.001 GB" in outcome["reason"]
    finally:
        place.close()


@pytest.mark.slow
def test_what_waits_asks_for_what_workers_declare_that_come_later(cluster, tmp_path):
    cluster.scheduler()
    place = DaskWorkers(cluster.address)
    try:
        spec = sk.RunSpec(model="tiny-mamba", mode="weights").record()
        first, second = (
            place.submit(replace(JOB, name=name, spec=spec, folder=str(tmp_path / name)), print)
            for name in ("first", "second")
        )
        cluster.begun(cluster.worker("--resources", "memory=1e6", gated=True))
        assert second.result(timeout=60)["failure"] == "memory"
        assert not first.done()
        cluster.gate.touch()
        assert first.result(timeout=60)["failure"] is None
    finally:
        place.close()


def test_what_jobs_ask_of_workers(lines):
    none, both = Resources(), Resources()
    assert not none.declared_by([{"resources": {}}])
    assert both.declared_by([{"resources": {"MEMORY": 4e9}}])
    assert both.declared_by([{"resources": {"GPU": 2, "MEMORY": 8e9}}])
    assert not both.declared_by([{"resources": {"GPU": 1}}])
    job = Job("m", {"device": "cuda:1"}, "", "", limits=Limits())
    assert both.wanted(job, 10) == {"MEMORY": 10.0, "GPU": 1.0}
    assert both.wanted(replace(job, spec={"device": "auto", "mode": "data"}), None) == {"GPU": 1.0}
    assert both.wanted(replace(job, spec={"device": "auto", "mode": "auto"}), None) == {}
    assert both.wanted(replace(job, spec={"device": "cpu", "mode": "data"}), None) == {}
    assert both.refusal(job, 5_000_000_000) is None
    assert both.refusal(job, 9_000_000_000).failure == "memory"
    assert (both.asks_for_memory(job), none.asks_for_memory(job)) == (True, False)
    assert not lines()
    assert none.wanted(job, 10) == none.wanted(job, None) == {}
    [line] = lines()
    assert "no worker declares a GPU" in line


@pytest.mark.slow
def test_memory_is_told_without_a_gpu():
    spec = sk.RunSpec(model="tiny-mamba", mode="data", device="cuda").record()
    try:
        outcome = supervise(message(measured_here(replace(JOB, name="m", spec=spec))))
    finally:
        end_children()
    assert outcome["cost"]["mode"] == "data"
    assert outcome["cost"]["memory"] > 1 << 20


@pytest.mark.parametrize(
    "address",
    ["", "foo", "localhost", "http://127.0.0.1:8786", "127.0.0.1:port", "tcp://:8786", "a b:1",
     "tcp://127.0.0.1:99999", "127.0.0.1:0", "inproc://x", "tcp://h:1/x", "a\x1b[2J:1", "[::1"],
)  # fmt: skip
def test_what_is_no_address(address):
    with pytest.raises(UsageError, match="is not an address"):
        DaskWorkers(address)


@pytest.mark.parametrize("address", ["h:1", "tcp://10.0.0.1:8786", "tls://[::1]:8786", "a.b-c:9"])
def test_what_is_an_address(address):
    check_address(address)


def test_nobody_answers():
    address = f"tcp://127.0.0.1:{free_port()}"
    with pytest.raises(NetworkError, match=f"no Dask scheduler answers at {address}") as caught:
        DaskWorkers(address, timeout=0.5)
    assert caught.value.exit_code == 6
    assert "dask scheduler" in caught.value.hint


@pytest.mark.parametrize("said", [b"", b"\xff" * 4096, b"HTTP/1.1 400 Bad Request\r\n\r\n"])
def test_something_else_answers(said):
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.listen()
        address = f"127.0.0.1:{server.getsockname()[1]}"

        def answer():
            connection, _ = server.accept()
            held.append(connection)
            connection.sendall(said)

        held = []
        thread = threading.Thread(target=answer)
        thread.start()
        with pytest.raises(NetworkError, match="no Dask scheduler answers"):
            DaskWorkers(address, timeout=0.5)
        thread.join()
        held[0].close()
