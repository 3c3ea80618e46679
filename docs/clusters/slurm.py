"""A batch on Slurm: workers in jobs of their own, started by dask-jobqueue.

    pip install "spectrakit[dask]" dask-jobqueue
    python slurm.py --workers 8 --cores 4 --memory 32GB -- models.toml --out zoo --mode data

What follows `--` is for `spectrakit batch`. It is run where this script is: on a login node in
`tmux`, or in a job of its own that lasts as long as the batch. The environment of this script must
be on all nodes, and so must the folder of the batch.
"""

from __future__ import annotations

import argparse
import signal
import subprocess
import sys

import dask
from dask.utils import parse_bytes
from dask_jobqueue import SLURMCluster


def main() -> int:
    """Run the batch; the exit code is its own."""
    asked = arguments()
    # A worker that dies takes down what it ran, and spectrakit decides what is tried again
    # (--retries). Dask's own three attempts would come on top: a model that brings down its node
    # would do so four times, and with it what else was waiting there.
    dask.config.set({"distributed.scheduler.allowed-failures": 0})
    resources = [
        f"memory={parse_bytes(asked.memory)}",
        *([f"GPU={asked.gpus}"] if asked.gpus else []),
    ]
    with SLURMCluster(
        cores=asked.cores,
        processes=1,
        memory=asked.memory,
        walltime=asked.time,
        queue=asked.partition,
        account=asked.account,
        interface=asked.interface,
        # The models run in children of the worker: as many at once as these go into.
        worker_extra_args=["--resources", ",".join(resources)],
        job_extra_directives=[f"--gpus={asked.gpus}"] if asked.gpus else [],
        scheduler_options={"dashboard_address": ":0"},
    ) as cluster:
        cluster.scale(jobs=asked.workers)
        batch = [sys.executable, "-m", "spectrakit", "batch", *asked.batch]
        with subprocess.Popen([*batch, "--scheduler", cluster.scheduler_address]) as running:
            signal.signal(
                signal.SIGINT, signal.SIG_IGN
            )  # Ctrl-C is for the batch, which ends itself
            return running.wait()


def arguments() -> argparse.Namespace:
    """What was asked for."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--workers", type=int, default=4, help="jobs of Slurm")
    parser.add_argument("--cores", type=int, default=4, help="of each, and models at once")
    parser.add_argument("--memory", default="16GB", help="of each")
    parser.add_argument("--gpus", type=int, default=0, help="of each")
    parser.add_argument("--time", default="12:00:00", help="of each")
    parser.add_argument("--partition")
    parser.add_argument("--account")
    parser.add_argument("--interface", help="network between the nodes, such as ib0")
    parser.add_argument("batch", nargs="+", help="what `spectrakit batch` is given, after --")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
