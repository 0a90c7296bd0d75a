"""The examples in the documentation, run as they stand."""

from __future__ import annotations

import contextlib
import re
from pathlib import Path

import numpy as np
from PIL import Image

DOCS = Path(__file__).parent.parent / "docs"


def examples(page):
    text = (DOCS / page).read_text(encoding="utf-8")
    return re.findall(r"^```python\n(.*?)^```$", text, re.DOTALL | re.MULTILINE)


def test_the_network_librarys_page(tmp_path, capsys):
    model, functions = examples("nn.md")
    (tmp_path / "tests").mkdir()
    (tmp_path / "tests" / "data").symlink_to(Path(__file__).parent / "data")
    with contextlib.chdir(tmp_path):
        names = {}
        exec(compile(model, "docs/nn.md", "exec"), names)
        assert len([line for line in model.splitlines() if line]) <= 20
        assert "total" in capsys.readouterr().out
        history = names["history"]
        assert history["loss"][-1] < 0.01 < history["loss"][0]
        assert len(history["val_loss"]) == 200
        outputs = names["model"].predict(names["x"])
        np.testing.assert_array_equal(names["again"].predict(names["x"]), outputs)
        with Image.open("digits.png") as picture:
            assert picture.size == (280, 56)
        names = {}
        exec(compile(functions, "docs/nn.md", "exec"), names)
        assert names["loss"] < 0.01
