"""Every family of transformers that spectrakit reads, as a tiny model with random weights.

`test_families` holds all of them to the same promises; the coverage page of the docs lists them.
One module per group of families names them in its `FAMILIES`.
"""

from tests.families import attention, delta, mamba, mamba_hybrids, others
from tests.families.base import Family

FAMILIES: tuple[Family, ...] = (
    *attention.FAMILIES,
    *delta.FAMILIES,
    *mamba.FAMILIES,
    *mamba_hybrids.FAMILIES,
    *others.FAMILIES,
)
