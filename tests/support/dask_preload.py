"""What a Dask worker of the tests loads as it starts: `dask worker ... --preload THIS`.

GATE: a path. Jobs say beside it which process has begun one, and wait until it is there.
OTHER_VERSION: the version of spectrakit that the worker says it has. WITHOUT_SPECTRAKIT: it cannot
import it.
"""

import os
import sys
import time
from pathlib import Path

if "WITHOUT_SPECTRAKIT" in os.environ:
    sys.modules["spectrakit"] = None
elif "OTHER_VERSION" in os.environ:
    from spectrakit.zoo import supervisor

    own = supervisor.versions()
    supervisor.versions = lambda: own | {"spectrakit": os.environ["OTHER_VERSION"]}
if "GATE" in os.environ:
    from spectrakit.zoo import dask_tasks
    from spectrakit.zoo.supervisor import supervise  # this file is loaded twice

    def gated(job, news):
        gate = Path(os.environ["GATE"])
        gate.with_name(f"{gate.name}.{os.getpid()}").touch()
        while not gate.exists():
            time.sleep(0.02)
        return supervise(job, news)

    dask_tasks.supervise = gated
