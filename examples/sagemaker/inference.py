"""A SageMaker inference script: the bundle lies in the model.tar.gz, and `epitome-onnx` in
code/requirements.txt. The container needs neither PyTorch nor transformers.
"""

import json

from epitome_onnx import pipeline


def model_fn(model_dir):
    return pipeline("summarization", model=model_dir)


def input_fn(body, content_type):
    return json.loads(body)


def predict_fn(request, pipe):
    return pipe(request["inputs"], **request.get("parameters", {}))
