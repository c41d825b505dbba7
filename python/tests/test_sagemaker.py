"""Runs examples/sagemaker/inference.py with the toolkit of SageMaker's containers."""

import json
import sys
from collections.abc import Callable
from http import HTTPStatus
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from conftest import ROOT, TEXTS

from epitome_onnx import Summarizer

environment = pytest.importorskip("sagemaker_inference.environment")
transformer = pytest.importorskip("sagemaker_inference.transformer")


class Context:
    """The context of a request that the model server passes to the toolkit."""

    def __init__(self, model_dir: Path) -> None:
        self.system_properties = {"model_dir": str(model_dir), "gpu_id": None}
        self.request_processor = [
            SimpleNamespace(
                get_request_properties=lambda: {
                    "Content-Type": "application/json",
                    "Accept": "application/json",
                }
            )
        ]
        self.content_type: str | None = None
        self.status = HTTPStatus.OK

    def set_response_content_type(self, request_id: int, value: str) -> None:
        self.content_type = value

    def set_response_status(self, code: int, phrase: str = "") -> None:
        self.status = HTTPStatus(code)


def test_the_example_answers_under_the_toolkit(
    summarizer: Summarizer, model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SAGEMAKER_PROGRAM", "inference.py")
    monkeypatch.syspath_prepend(str(ROOT / "examples" / "sagemaker"))
    monkeypatch.setattr(environment, "code_dir", str(ROOT / "examples" / "sagemaker"))
    server = transformer.Transformer()
    context = Context(model)
    server.validate_and_initialize(model_dir=str(model), context=context)
    parameters = {"num_beams": 2}
    body = json.dumps({"inputs": TEXTS, "parameters": parameters}).encode()
    answer: Any = server.transform([{"body": body}], context)
    expected = [{"summary_text": summarizer(text, **parameters).text} for text in TEXTS]
    assert context.content_type == "application/json"
    assert json.loads(answer[0]) == expected


def test_the_handlers_of_the_example_take_ten_lines() -> None:
    text = (ROOT / "examples" / "sagemaker" / "inference.py").read_text()
    code = [line for line in text.partition('"""\n\nimport')[2].splitlines() if line.strip()]
    assert len(code) <= 10
