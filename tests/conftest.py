"""Settings of all tests; beside it, modules such as `gradients` can be imported by any test."""

from hypothesis import settings

# Tests share machines with other work: how long one example took says nothing.
settings.register_profile("aezip", deadline=None)
settings.load_profile("aezip")
