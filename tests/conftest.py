"""Settings of all tests; beside it, modules such as `gradients` can be imported by any test."""

import os
import sys

import pytest
from hypothesis import settings

# As the command line does: sums in the last bit depend on how BLAS shares out its products.
for name in ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(name, "1")

from foreign import Dispatching, Foreign, ForeignModule  # noqa: E402  NumPy reads those as it loads

# Tests share machines with other work: how long one example took says nothing.
settings.register_profile("aezip", deadline=None)
settings.load_profile("aezip")


@pytest.fixture
def foreign(monkeypatch):
    """A module of arrays that NumPy refuses, known to `aezip.nn` as CuPy would be."""
    return _install(monkeypatch, Foreign)


@pytest.fixture
def dispatching(monkeypatch):
    """A module of arrays that NumPy's functions hand over to."""
    return _install(monkeypatch, Dispatching)


def _install(monkeypatch, kind):
    module = ForeignModule(kind)
    monkeypatch.setitem(sys.modules, module.__name__, module)
    monkeypatch.setattr(kind, "__module__", module.__name__)
    monkeypatch.setattr(Foreign, "seen", set())
    return module
