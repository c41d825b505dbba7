"""Summaries with fine-tuned models: transformers' tokens, without PyTorch.

    from epitome_onnx import Summarizer, export, pipeline

    export("model.tar.gz", "models/mine")
    summarizer = Summarizer("models/mine")
    print(summarizer("A long report ...", num_beams=4))

    pipe = pipeline("summarization", model="models/mine")
    pipe(["A long report ..."])  # [{"summary_text": "..."}]
"""

from . import errors
from ._models import export, pull
from ._pipeline import Pipeline, pipeline
from ._summarizer import GenerateOutput, Summarizer
from ._summary import Read, Sequence, Summary

__all__ = [
    "GenerateOutput",
    "Pipeline",
    "Read",
    "Sequence",
    "Summarizer",
    "Summary",
    "errors",
    "export",
    "pipeline",
    "pull",
]
