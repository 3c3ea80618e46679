from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from spectrakit.analyses.spectrum.windows import disc_window, half_plane_window
from spectrakit.tables.distribution import Distribution

PHASES = st.floats(-np.pi, np.pi)


def eigenvalues(values):
    values = np.asarray(values, complex)
    ones = np.ones(len(values))
    with np.errstate(divide="ignore"):
        return Distribution(ones * 0, -np.log(abs(values)), values.real, values.imag, ones)


def cell_of(value):
    found = eigenvalues([value])
    (cell,) = disc_window(found).cells(found)
    return cell


@pytest.mark.parametrize("value", [1.0, -1.0])
def test_one_is_inside_the_circle(value):
    cell = cell_of(value)
    assert min(abs(cell["x0"]), abs(cell["x1"])) < max(abs(cell["x0"]), abs(cell["x1"])) == 1


@given(st.lists(st.tuples(st.floats(0, 1), PHASES), min_size=1, max_size=30))
def test_cells_hold_what_lies_in_them_and_their_shares_make_one(polar):
    values = np.array([modulus * np.exp(1j * phase) for modulus, phase in polar])
    found = eigenvalues(values)
    window = disc_window(found)
    cells = window.cells(found)
    assert sum(cell["share"] for cell in cells) == pytest.approx(1)
    assert sum(strip["share"] for strip in window.strips(found)) == pytest.approx(1)
    for value in values:
        assert any(
            cell["x0"] - 1e-6 <= value.real <= cell["x1"] + 1e-6
            and cell["y0"] - 1e-6 <= value.imag <= cell["y1"] + 1e-6
            for cell in cells
        )


@pytest.mark.parametrize(("largest", "limit"), [(1.0, 1.12), (1.3, 1.5), (1.9, 2.0), (2.9, 3.0)])
def test_the_window_is_as_wide_as_it_must_be(largest, limit):
    assert disc_window(eigenvalues([0.5j, largest])).right == limit


def test_what_is_not_drawn_is_counted():
    found = eigenvalues([1j, 0.5, 50, 1e300])
    window = disc_window(found)
    assert window.beyond(found) == 0.5
    assert sum(cell["share"] for cell in window.cells(found)) == pytest.approx(0.5)


def test_a_window_may_hold_nothing():
    found = eigenvalues([50.0])
    window = disc_window(found)
    assert window.cells(found) == window.strips(found) == []
    assert window.beyond(found) == 1


def test_real_eigenvalues_get_a_band():
    assert disc_window(eigenvalues([0.5, 0.9])).flat
    assert not disc_window(eigenvalues([0.5, 0.9j])).flat


@given(st.lists(st.tuples(st.floats(-50, 2), st.floats(-100, 100)), min_size=1, max_size=100))
def test_a_half_plane_window_has_the_imaginary_axis_and_nearly_all_eigenvalues(parts):
    found = eigenvalues([real + 1j * imaginary for real, imaginary in parts])
    window = half_plane_window(found)
    assert window.left < 0 < window.right
    assert window.beyond(found) <= 0.02
    shares = sum(cell["share"] for cell in window.cells(found))
    assert shares == pytest.approx(1 - window.beyond(found))
