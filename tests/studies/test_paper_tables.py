"""The table of final errors for a paper, in Markdown and LaTeX."""

import re
from dataclasses import asdict
from pathlib import Path

from support.figures import finished_run, plot

from resnet_degradation.config.schema import PanelConfig
from resnet_degradation.figures.drawing import Drawing
from resnet_degradation.records.metrics import Row, write_metrics
from resnet_degradation.studies.tables import (
    escape_latex,
    format_latex,
    format_markdown,
    write_tables,
)
from resnet_degradation.system.atomic_files import write_json


def assert_compiles(tex: str) -> None:
    """What can be checked without LaTeX: braces, columns, and no bare special character."""
    lines = [line for line in tex.splitlines() if not line.startswith("%")]
    body = "\n".join(lines)
    bare = re.sub(r"\\[{}&%$#_]", "", body)  # without escaped characters
    assert bare.count("{") == bare.count("}")
    assert bare.count("$") % 2 == 0
    assert not re.search("[%#_^±†\u00a0]", bare)
    (columns,) = re.findall(r"\\begin\{tabular\}\{([lr]+)\}", body)
    rows = [line for line in lines if line.endswith(r" \\")]
    assert len(rows) >= 2
    for row in rows:
        assert len(re.findall(r"(?<!\\)&", row)) == len(columns) - 1
    rules = [line for line in lines if line.endswith("rule")]
    assert rules == [r"\toprule", r"\midrule", r"\bottomrule"]


def test_special_characters_are_escaped() -> None:
    assert escape_latex("25 % ± 1_a & b") == r"25 \% $\pm$ 1\_a \& b"
    assert escape_latex("8.75 (Table 6)††") == r"8.75 (Table 6)$\dagger$$\dagger$"
    assert escape_latex(r"a\b{c}~^<>$#") == (
        r"a\textbackslash{}b\{c\}\textasciitilde{}\textasciicircum{}"
        r"\textless{}\textgreater{}\$\#"
    )
    assert escape_latex("-") == "--"
    assert escape_latex("plain-20") == "plain-20"
    assert_compiles(
        format_latex([["net", "error (%)"], [r"my_\net{$}", "1 ± 2"]], ["100 % of\nit"])
    )


def test_columns_without_values_are_left_out(tmp_path: Path) -> None:
    row = {
        "net": "plain-20",
        "the paper (%)": "-",
        "error (%)": "7.0",
        "seeds": "0",
        "seconds": "18",
    }
    md, tex = write_tables(tmp_path, [row], ["one note"])
    assert md.read_text() == "| net | error (%) |\n| --- | ---: |\n| plain-20 | 7.0 |\n\none note\n"
    assert tex.read_text().splitlines()[1:4] == [
        "% one note",
        r"\begin{tabular}{lr}",
        r"\toprule",
    ]
    md, _ = write_tables(tmp_path, [row, row | {"seeds": "0, 1"}], [])
    assert md.read_text().endswith("| plain-20 | 7.0 | 0 |\n| plain-20 | 7.0 | 0, 1 |\n")
    assert format_markdown([["a|b"]], []).startswith("| a&#124;b |")


def test_runs_of_two_machines_are_one_table_and_one_figure(tmp_path: Path) -> None:
    for seed, error in ((0, 10.0), (1, 13.0)):
        for depth in (20, 56):
            folder = tmp_path / f"machine{seed}" / f"{depth}"
            finished_run(folder, error + depth, seed=seed, depth=depth)
            rows = [Row(i, i, 0.1, 1.0, 50.0, None, error, 100.0, 1.0) for i in (1, 2)]
            write_metrics(folder, rows)
    machines = [tmp_path / f"machine{seed}" for seed in (0, 1)]
    drawing = Drawing("of both machines").study_settings() | {"panels": [asdict(PanelConfig())]}
    for machine in machines:
        write_json(machine / "study.json", {"runs": ["20", "56"], "drawing": drawing})
    done = plot(*machines, "--table", "--output", tmp_path / "both" / "figure.svg")
    assert done.stderr == ""
    names = ["figure.svg", "results.md", "results.tex"]
    assert done.stdout.split() == [str(tmp_path / "both" / name) for name in names]
    head, _, *rows = (tmp_path / "both" / "results.md").read_text().splitlines()
    assert head == "| net | parameters | training error (%) | test error (%) | the paper (%) |"
    assert rows[0].startswith("| ResNet-20 | 1 | 31.50 ± 2.12 | 31.50 ± 2.12 | 8.75 (Table 6)")
    assert rows[1].startswith("| ResNet-56 | 1 | 67.50 ± 2.12 | 67.50 ± 2.12 | 6.97 (Table 6)")
    tex = (tmp_path / "both" / "results.tex").read_text()
    assert r"ResNet-20 & 1 & 31.50 $\pm$ 2.12 & 31.50 $\pm$ 2.12 & 8.75 (Table 6)" in tex
    assert "2 seeds (mean ± standard deviation)." in tex
    assert "times 0.1 at 50% and 75%; 2 seeds" in tex.replace("\\%", "%")
    assert_compiles(tex)
    (tmp_path / "machine1" / "56" / "summary.json").unlink()
    done = plot(*machines, "--table", "--output", tmp_path / "both" / "unfinished.svg")
    left_out = tmp_path / "machine1" / "56"
    assert done.stderr == f"not finished, so not in the table: {left_out}\n"
    figure = (tmp_path / "both" / "figure.svg").read_text()
    assert "2 seeds" in figure
    assert "of both machines" in figure
