"""Runs the examples."""

import json
from pathlib import Path

import pytest
from conftest import ROOT

EXAMPLES = ROOT / "examples"


def test_the_notebook_runs(
    demo: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    # The example exports a missing demo model. Here the model exists.
    (tmp_path / "models").mkdir()
    (tmp_path / "models" / "demo").symlink_to(demo)
    (tmp_path / "fixtures").symlink_to(ROOT / "fixtures")
    monkeypatch.chdir(tmp_path)
    notebook = json.loads((EXAMPLES / "summaries.ipynb").read_text())
    cells = [cell["source"] for cell in notebook["cells"] if cell["cell_type"] == "code"]
    scope: dict[str, object] = {}
    for cell in cells:
        exec(cell, scope)
    lines = capsys.readouterr().out.splitlines()
    articles = len(list((ROOT / "fixtures" / "articles").glob("*.txt")))
    assert len(lines) == 3 + 3 + 1 + articles - 1
    assert all(line.strip() for line in lines)


def test_the_page_summarizes(demo: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    testing = pytest.importorskip("streamlit.testing.v1")
    monkeypatch.setattr("sys.argv", ["streamlit_local.py", str(demo)])
    page = testing.AppTest.from_file(str(EXAMPLES / "streamlit_local.py"), default_timeout=120)
    page.run()
    page.text_area[0].set_value("A tool that compares two folders and tells what differs.").run()
    page.button[0].click().run()
    assert not page.exception
    assert page.markdown[0].value
