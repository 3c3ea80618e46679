"""Oracle of `lyapunov`: log singular values of each sequence's product of transitions, per token.

    sigma_i(A_T ... A_2), sorted in each sequence
    exponent_i = sum_s T_s (log(sigma_i) / T_s) / sum_s T_s        T_s = T - 1 transitions

over the sequences in which sigma_i is not zero; -inf where it is zero in all. A of a sequence's
first token is not in the product. Where transitions commute log(sigma) is a sum of log|lambda_t|.

Delta rules: A_t = exp(g_t) (I - beta_t k_t k_t^T), multiplied out and decomposed with mpmath
(Yang, Kautz & Hatamizadeh 2024, arXiv 2412.06464).
"""

from __future__ import annotations

import numpy as np

from tests.oracles.checking import between, near, oracle
from tests.oracles.gated_delta import delta_run, exact_log_singular_values
from tests.oracles.observed_oracle import ABSOLUTE, REL, layers_of, observed_rates, spectrum_runs

COLUMNS = (
    "layer head index mode gauge exponent timescale_steps multiplicity tokens sequences "
    "erased last_change sweeps"
)


@oracle("lyapunov", f"{COLUMNS} channel")
def commuting_exponents(report, long):
    """`lyapunov` where transitions commute: of attention, in gauge retained."""
    for run in spectrum_runs(long):
        for layer in layers_of(run):
            seen = observed_rates(run, layer)[0]
            lengths = [len(rates) for rates in seen.rates]
            sorted_ = [-np.sort(rates.mean(0), axis=1) for rates in seen.rates]  # (H, K)
            exponents = np.average(sorted_, axis=0, weights=lengths)
            heads, distinct = exponents.shape
            _exponents(
                report,
                run,
                layer,
                exponents.flatten(),
                REL * np.abs(exponents.flatten()) + ABSOLUTE,
                {
                    seen.axis: np.repeat(np.arange(heads), distinct).tolist(),
                    "index": np.tile(np.arange(distinct), heads),
                    "gauge": seen.gauge,
                    "multiplicity": seen.copies,
                    "tokens": sum(lengths),
                    "sequences": len(lengths),
                    "erased": 0,
                    "last_change": 0.0,
                    "sweeps": 0,
                },
            )


def _exponents(report, run, layer, exponents, off, expected):
    """Exponents (n,) within `off`, and what else is known of the rows."""
    timescales = between(
        [_timescale(e) for e in exponents + off], [_timescale(e) for e in exponents - off]
    )
    # A timescale grows with its exponent, up to where there is none.
    report.compare(
        run,
        "lyapunov",
        key="head channel index",
        where={"layer": layer},
        expected={"head": None, "channel": None, "mode": "data"}
        | expected
        | {
            "exponent": near(exponents, absolute=off),
            "timescale_steps": between(timescales.high, timescales.low),
        },
    )


def _timescale(exponent):
    return -1 / exponent if exponent < 0 else np.inf


@oracle("lyapunov", COLUMNS)
def exponents_of_delta_rules(report, long):
    """`lyapunov` of gated delta rules, with tokens that erase a direction exactly."""
    for seed in range(4 if long else 1):
        run = delta_run(seed)
        heads, width = run.told["heads"], run.told["key_width"]
        lengths = [len(ids) - 1 for ids in run.told["sequences"]]
        logs = np.array([exact_log_singular_values(*told) for told in run.told["recurrences"]])
        erased = np.isinf(logs).sum(0)  # (H, K)
        assert erased.any(), "no token erases a direction"
        assert (erased < len(lengths)).any(), "nothing is left"
        weights = np.where(np.isinf(logs), 0, np.array(lengths)[:, None, None])
        sums = np.where(np.isinf(logs), 0.0, logs).sum(0)  # T_s times the mean per token
        with np.errstate(divide="ignore", invalid="ignore"):
            exponents = np.where(weights.any(0), sums / weights.sum(0), -np.inf)
        finite = np.isfinite(exponents)
        off = np.where(finite, 1e-5 + 2e-4 * np.abs(np.where(finite, exponents, 0)), 0.0)
        _exponents(
            report,
            run,
            0,
            exponents.flatten(),
            off.flatten(),
            {
                "head": np.repeat(np.arange(heads), width).tolist(),
                "index": np.tile(np.arange(width), heads),
                "gauge": "unnormalised",
                "multiplicity": run.told["value_width"],
                "tokens": sum(lengths),
                "sequences": len(lengths),
                "erased": erased.flatten(),
                "last_change": between(0.0, 1e-6),
                "sweeps": between(1, 20),
            },
        )
