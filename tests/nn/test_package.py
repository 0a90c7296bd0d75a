from __future__ import annotations

import ast
from pathlib import Path

import pytest

from aezip import nn

MODULES = sorted(Path(nn.__file__).parent.glob("*.py"))


@pytest.mark.parametrize("path", MODULES, ids=lambda path: path.stem)
def test_it_needs_no_other_part_of_aezip(path):
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0
            names = [node.module]
        else:
            continue
        for name in names:
            assert name.split(".")[0] != "aezip" or name.split(".")[:2] == ["aezip", "nn"]


def test_all_is_what_can_be_imported():
    assert len(nn.__all__) == len(set(nn.__all__))
    for name in nn.__all__:
        assert hasattr(nn, name)
