"""docs/python.md and docs/degradation.ipynb run as they are written, only for fewer iterations."""

import re
from pathlib import Path
from typing import Any

import pytest

DOCS = Path(__file__).parents[2] / "docs"


@pytest.mark.long
def test_every_snippet_of_the_python_chapter_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    text = (DOCS / "python.md").read_text("utf-8")
    snippets = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    assert len(snippets) == text.count("```") // 2 == 3
    code = "\n".join(snippets).replace("iterations=300", "iterations=2")
    code = code.replace("depth=56", "depth=8").replace(
        "seeds=[0, 1]", "seeds=[0], study=dict(nets=[dict(depth=8, residual=True)])"
    )
    names: dict[str, Any] = {}
    exec(code, names)
    assert names["net"](names["rd"].resnet(8).conv1.weight.new_zeros(1, 3, 16, 16)).shape == (1, 10)
    assert [run.folder for run in names["found"].runs] == [names["residual"].folder]
