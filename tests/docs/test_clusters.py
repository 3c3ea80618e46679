"""docs/clusters: what is for Slurm is run, what is for Kubernetes agrees with itself."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.docs.commands import parse

CLUSTERS = Path(__file__).parents[2] / "docs" / "clusters"
ROOT = CLUSTERS.parents[1]

#: Runs the script at once, in the background; the job's number is that of the process.
SBATCH = """#!/bin/sh
cp "$1" "$FAKE_SLURM/job.sh" # which goes as soon as this ends
setsid bash "$FAKE_SLURM/job.sh" > "$FAKE_SLURM/job.log" 2>&1 &
echo "Submitted batch job $!"
"""
SCANCEL = """#!/bin/sh
kill -- "-$1"
"""


@pytest.fixture
def slurm(tmp_path):
    """An environment with commands of Slurm, and with `spectrakit` as this Python has it."""
    folder = tmp_path / "bin"
    folder.mkdir()
    spectrakit = f'#!/bin/sh\nexec "{sys.executable}" -m spectrakit "$@"\n'
    for name, text in (("sbatch", SBATCH), ("scancel", SCANCEL), ("spectrakit", spectrakit)):
        (folder / name).write_text(text)
        (folder / name).chmod(0o755)
    paths = [str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])]
    return {
        **os.environ,
        "PATH": os.pathsep.join([str(folder), os.environ["PATH"]]),
        "PYTHONPATH": os.pathsep.join(paths),
        "FAKE_SLURM": str(tmp_path),
        "DASK_CONFIG": str(tmp_path),  # nobody's own configuration
    }


@pytest.fixture
def listed(tmp_path):
    """The arguments of a small batch, and its folder."""
    (tmp_path / "models.txt").write_text("tiny-mamba\ntiny-mamba2\n")
    return ["models.txt", "--out", "zoo", "--mode", "weights"], tmp_path / "zoo"


def runs(zoo):
    return sorted(path.name for path in (zoo / "runs").iterdir() if not path.name.startswith("."))


@pytest.mark.slow
def test_workers_that_slurm_starts(slurm, listed, tmp_path):
    pytest.importorskip("dask_jobqueue")
    arguments, zoo = listed
    asked = ["--workers", "1", "--cores", "2", "--memory", "2GB", "--partition", "long"]
    asked += ["--interface", "lo"]
    command = [sys.executable, str(CLUSTERS / "slurm.py"), *asked, "--", *arguments]
    done = subprocess.run(
        command, env=slurm, cwd=tmp_path, capture_output=True, text=True, timeout=120, check=False
    )
    log = tmp_path / "job.log"
    told = done.stderr + (log.read_text() if log.exists() else "no job was submitted")
    assert done.returncode == 0, told
    assert runs(zoo) == ["tiny-mamba", "tiny-mamba2"]
    job = (tmp_path / "job.sh").read_text()
    assert "#SBATCH -p long" in job
    assert "#SBATCH --cpus-per-task=2" in job
    assert "--resources memory=2000000000" in job


@pytest.mark.slow
def test_a_job_of_an_array_runs_its_part(slurm, listed, tmp_path):
    arguments, zoo = listed
    task = {"SLURM_ARRAY_TASK_ID": "2", "SLURM_ARRAY_TASK_COUNT": "2"}
    subprocess.run(
        ["bash", str(CLUSTERS / "array.sh"), *arguments], env={**slurm, **task}, cwd=tmp_path,
        capture_output=True, timeout=120, check=True,
    )  # fmt: skip
    assert runs(zoo) == ["tiny-mamba2"]


def test_the_array_begins_with_one():
    directives = [
        line.split()[1] for line in (CLUSTERS / "array.sh").read_text().splitlines()
        if line.startswith("#SBATCH")
    ]  # fmt: skip
    [array] = [each.partition("=")[2] for each in directives if each.startswith("--array")]
    assert array.partition("-")[0] == "1"


@pytest.fixture(scope="module")
def manifest():
    """What kubernetes.yaml declares, by kind and name."""
    yaml = pytest.importorskip("yaml")
    declared = list(yaml.safe_load_all((CLUSTERS / "kubernetes.yaml").read_text()))
    found = {(each["kind"], each["metadata"]["name"]): each["spec"] for each in declared}
    assert len(found) == len(declared)
    return found


def pod(spec):
    """The pod of a Deployment or a Job, and its only container."""
    inside = spec["template"]["spec"]
    [container] = inside["containers"]
    return inside, container


def test_each_deployment_and_service_finds_its_pods(manifest):
    for (kind, name), spec in manifest.items():
        if kind == "Deployment":
            assert spec["selector"]["matchLabels"] == spec["template"]["metadata"]["labels"], name
    service = manifest["Service", "zoo-scheduler"]
    deployment = manifest["Deployment", "zoo-scheduler"]
    assert service["selector"] == deployment["template"]["metadata"]["labels"]


def test_workers_and_driver_are_given_the_port_of_the_scheduler(manifest):
    [port] = manifest["Service", "zoo-scheduler"]["ports"]
    _, scheduler = pod(manifest["Deployment", "zoo-scheduler"])
    assert scheduler["ports"] == [{"name": port["targetPort"], "containerPort": port["port"]}]
    command = scheduler["command"]
    assert command[command.index("--port") + 1] == str(port["port"])
    address = f"tcp://zoo-scheduler:{port['port']}"
    for of in (("Deployment", "zoo-worker"), ("Job", "zoo-batch")):
        assert address in pod(manifest[of])[1]["command"]


def test_the_commands_have_these_options(manifest):
    pytest.importorskip("distributed")
    from distributed.cli import dask_scheduler, dask_worker

    for name, module in (("scheduler", dask_scheduler), ("worker", dask_worker)):
        command = pod(manifest["Deployment", f"zoo-{name}"])[1]["command"]
        assert command[:2] == ["dask", name]
        module.main.make_context(name, command[2:])
    command = pod(manifest["Job", "zoo-batch"])[1]["command"]
    parse(" ".join(command))
    with pytest.raises(Exception, match="No such option"):
        parse(" ".join([*command, "--no-such-option"]))


def test_all_who_read_and_write_runs_have_one_volume(manifest):
    claim = manifest["PersistentVolumeClaim", "zoo"]
    assert claim["accessModes"] == ["ReadWriteMany"]
    for of in (("Deployment", "zoo-worker"), ("Job", "zoo-batch")):
        inside, container = pod(manifest[of])
        [volume] = inside["volumes"]
        assert volume["persistentVolumeClaim"] == {"claimName": "zoo"}
        assert container["volumeMounts"] == [{"name": volume["name"], "mountPath": "/zoo"}]
    words = pod(manifest["Job", "zoo-batch"])[1]["command"]
    assert words[2].startswith("/zoo/")
    assert words[words.index("--out") + 1].startswith("/zoo/")


def test_nothing_is_tried_again_but_by_spectrakit(manifest):
    from spectrakit.errors import BatchFailures, UsageError

    _, scheduler = pod(manifest["Deployment", "zoo-scheduler"])
    values = {each["name"]: each.get("value") for each in scheduler["env"]}
    assert values["DASK_DISTRIBUTED__SCHEDULER__ALLOWED_FAILURES"] == "0"
    job = manifest["Job", "zoo-batch"]
    assert pod(job)[0]["restartPolicy"] == "Never"
    [rule] = job["podFailurePolicy"]["rules"]
    assert rule["onExitCodes"]["values"] == [UsageError.exit_code, BatchFailures.exit_code]
    assert rule["onExitCodes"]["containerName"] == pod(job)[1]["name"]


def test_the_setting_is_one_of_dask():
    dask = pytest.importorskip("dask")
    pytest.importorskip("distributed")
    assert dask.config.get("distributed.scheduler.allowed-failures") == 3
    found = dask.config.collect_env({"DASK_DISTRIBUTED__SCHEDULER__ALLOWED_FAILURES": "0"})
    with dask.config.set(found):
        assert dask.config.get("distributed.scheduler.allowed-failures") == 0
