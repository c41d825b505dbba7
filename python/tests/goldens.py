"""Goldens of transformers' `generate`: through the module, and of the trained model through the
command.

The tests in Rust compare the same. `packaging/parity` runs these for packages of other processors.
"""

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from conftest import FIXTURES, epitome

from epitome_onnx import Summarizer
from epitome_onnx.errors import ParameterError

KINDS = {".generate", ".random", ".processors", ".groups"}
GOLDENS = sorted(
    path for path in (FIXTURES / "goldens").glob("*.*.jsonl") if Path(path.stem).suffix in KINDS
)
# Largest difference of a score, relative to its absolute value (or 1).
TOLERANCE = 1e-4


def agrees(found: Any, case: dict[str, Any]) -> bool:
    """Removes padding: after its own tokens, a row has one repeated token."""
    rows = found.sequences.tolist()
    if len(rows) != len(case["sequences"]):
        return False
    for row, expected in zip(rows, case["sequences"], strict=True):
        if row[: len(expected)] != expected or len(set(row[len(expected) :])) > 1:
            return False
    return all(
        math.isclose(score, expected, rel_tol=TOLERANCE, abs_tol=TOLERANCE)
        for score, expected in zip(found.sequences_scores, case["scores"], strict=True)
    ) if case.get("scores") else True


@pytest.mark.parametrize("golden", GOLDENS, ids=lambda path: path.stem)
def test_every_golden_has_the_same_token_ids_and_scores(
    golden: Path, bundle: Callable[..., Path]
) -> None:
    name = golden.name.split(".")[0]
    header, *cases = map(json.loads, golden.open())
    summarizer = Summarizer(bundle(name), threads=1)
    wrong = []
    for case in cases:
        parameters = case["parameters"]
        if name.startswith("led"):
            # As in transformers, no token has global attention unless a mask says so.
            parameters.setdefault("global_attention_mask", "none")
        arguments = dict(return_dict_in_generate=True, **parameters)
        source = [header["inputs"][case["input"]]]
        if (parameters.get("min_length") or 0) > (parameters.get("max_length") or math.inf):
            with pytest.raises(ParameterError):
                summarizer.generate(source, **arguments)
        elif not agrees(found := summarizer.generate(source, **arguments), case):
            wrong.append((case, found))
    assert cases
    assert not wrong, f"{len(wrong)} of {len(cases)}, first {wrong[0]}"


def test_the_command_says_what_transformers_says(demo: Path) -> None:
    golden = json.loads((FIXTURES / "goldens" / "pegasus-debian.json").read_text())
    wrong = []
    for case in golden["cases"]:
        document = FIXTURES / golden["documents"][case["document"]]["file"]
        printed = epitome(
            "summarize", "--model", demo, "--format", "json", "--long", "first",
            "--parameters", json.dumps(case["parameters"]), document,
        )  # fmt: skip
        assert printed.returncode == 0, printed.stderr
        first = json.loads(printed.stdout.splitlines()[0])
        if (first["token_ids"], first["generated_text"]) != (case["token_ids"], case["text"]):
            wrong.append((case, first))
    assert len(golden["cases"]) > 100
    assert not wrong, f"{len(wrong)} of {len(golden['cases'])}, first {wrong[0]}"
