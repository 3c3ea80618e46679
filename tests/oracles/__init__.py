"""Independent recomputations of what spectrakit's tables say: the oracles.

An oracle reads the Parquet files of a run as any user would, recomputes columns from the
checkpoint's tensors and the token ids with NumPy, SciPy or mpmath, straight from the equations, and
compares. It uses none of spectrakit's mathematics and none of transformers' layers: only
`spectrakit.analyze` and what `spectrakit compare` calls, to make the runs it looks at.

    checking.py      what compares, and records what was compared; the registry of oracles
    definitions.py   choices that are conventions, not mathematics, each said once
    runs.py          the runs that are looked at: small ones, and with --long many
    forward.py       forward passes of Mamba, Mamba-2 and Llama in float64
    made.py, made_attention.py, gated_delta.py    checkpoints that are made, with their equations
    NAME_oracle.py   the oracles of a subject
    uncovered.py     the columns that no oracle looks at, and why
    __main__.py      all of it at length: python -m tests.oracles --long

How one is written:

    @oracle("lyapunov", "layer exponent tokens")       # table, columns that it checks
    def exponents(report, long):                       # long: also what takes minutes
        run = data_run("tiny-mamba")
        report.compare(run, "lyapunov", key="layer channel index", expected={...})

`expected` has a value for each row, or one for all: a plain one must be met exactly, `near(...)`
within a stated tolerance, `between(...)` within bounds (what a sketch may say; that an error is
within its stated bound). Rows that are missing or too many fail. A column counts as compared where
some value was expected that is not null, and where the tolerance would not let a column of zeros
pass; `test_oracles.py` holds each oracle's declaration against that.
"""
