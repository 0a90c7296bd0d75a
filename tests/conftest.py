"""Settings of all tests; beside it, modules such as `gradients` can be imported by any test."""

import os

from hypothesis import settings

# As the command line does: sums in the last bit depend on how BLAS shares out its products.
for name in ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(name, "1")

# Tests share machines with other work: how long one example took says nothing.
settings.register_profile("aezip", deadline=None)
settings.load_profile("aezip")
