import sys

import pytest
from fuzzing import fuzz


@pytest.mark.skipif(sys.platform != "linux", reason="limits of memory as of Linux")
def test_mutated_archives():
    said = []
    outcomes = fuzz(0, 200, said.append)
    assert said == []
    assert outcomes.total() == 200 and outcomes["FAILED"] == 0
    assert min(outcomes[x] for x in ("refused", "damage named", "whole")) > 5
