"""The code of docs/python.md and docs/degradation.ipynb runs, here for fewer iterations."""

import json
import re
from pathlib import Path
from typing import Any

import pytest
import torch

DOCS = Path(__file__).parents[2] / "docs"


@pytest.mark.long
def test_every_snippet_of_the_python_chapter_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    text = (DOCS / "python.md").read_text("utf-8")
    snippets = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    assert len(snippets) == text.count("```") // 2 == 3
    tiny = "iterations=2), width=0.25, data=dict(image_size=8)"
    code = "\n".join(snippets).replace("iterations=300)", tiny)
    code = code.replace("depth=56", "depth=8").replace(
        "seeds=[0, 1]", "seeds=[0], study=dict(nets=[dict(depth=8, residual=True)])"
    )
    names: dict[str, Any] = {}
    exec(code, names)
    assert names["net"](torch.zeros(1, 3, 8, 8)).shape == (1, 10)
    assert [run.folder for run in names["found"].runs] == [names["residual"].folder]


def cells_of(kind: str) -> list[dict[str, Any]]:
    notebook = json.loads((DOCS / "degradation.ipynb").read_text("utf-8"))
    return [cell for cell in notebook["cells"] if cell["cell_type"] == kind]


def test_the_notebook_is_executed_and_its_texts_quote_its_outputs() -> None:
    cells, printed = cells_of("code"), ""
    assert [cell["execution_count"] for cell in cells] == [*range(1, len(cells) + 1)]
    for cell in cells:
        outputs = cell["outputs"]
        printed += "".join(line for output in outputs for line in output.get("text", ""))
        assert {output["output_type"] for output in outputs} <= {"stream", "execute_result"}
    texts = "".join(line for cell in cells_of("markdown") for line in cell["source"])
    quoted = set(re.findall(r"(?<![/\d])\d+\.\d+", texts)) - {"2.14"}  # the version of torch
    assert len(quoted) > 5
    assert {number for number in quoted if number not in printed} == set()
    assert (DOCS / "degradation.ipynb").stat().st_size < 2_000_000


@pytest.mark.long
def test_every_cell_of_the_notebook_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    code = ["".join(cell["source"]) for cell in cells_of("code")]
    for written, tiny in (
        ("SHALLOW, DEEP, ITERATIONS = 20, 56, 200", "SHALLOW, DEEP, ITERATIONS = 8, 14, 2"),
        ('"quiet": True}', '"quiet": True, "width": 0.25, "data": {"image_size": 8}}'),
    ):
        assert code[0].count(written) == 1
        code[0] = code[0].replace(written, tiny)
    names: dict[str, Any] = {}
    for cell in code:
        exec(cell, names)
    assert names["same"] == [True] * len(names["same"])
