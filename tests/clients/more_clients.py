"""The client that more.py runs in each environment: NAME URL SUMMARIZATION_URL."""

import json
import os
import subprocess
import sys
import tempfile
import urllib.request

TEXT = "The river rose after a week of rain and the town opened its gates."
GREEDY = {"num_beams": 1, "max_new_tokens": 12}


def summary(url, **parameters):
    body = json.dumps({"inputs": TEXT, "parameters": parameters}).encode()
    request = urllib.request.Request(
        f"{url}/invocations", body, {"Content-Type": "application/json"}
    )
    with urllib.request.urlopen(request) as answer:
        value = json.load(answer)[0]
    return value.get("generated_text") or value["summary_text"]


def runtime(url):
    import boto3

    return boto3.client("sagemaker-runtime", endpoint_url=url)


def sagemaker2(url, _):
    import boto3
    import numpy
    from sagemaker import Session
    from sagemaker.deserializers import (
        JSONLinesDeserializer,
        NumpyDeserializer,
        PandasDeserializer,
        StringDeserializer,
    )
    from sagemaker.huggingface import HuggingFacePredictor
    from sagemaker.iterators import LineIterator
    from sagemaker.serializers import (
        CSVSerializer,
        IdentitySerializer,
        JSONLinesSerializer,
        NumpySerializer,
    )

    session = Session(
        boto_session=boto3.Session(region_name="us-east-1"),
        sagemaker_client=boto3.client("sagemaker", endpoint_url=url),
        sagemaker_runtime_client=runtime(url),
        default_bucket="none",
    )
    predictor = HuggingFacePredictor("any", sagemaker_session=session)
    whole = summary(url)
    assert predictor.predict({"inputs": TEXT}) == [{"generated_text": whole}]

    def through(serializer, deserializer, data):
        predictor.serializer, predictor.deserializer = serializer, deserializer
        return predictor.predict(data)

    array = through(
        # An array of objects, as from the stock container.
        NumpySerializer(),
        NumpyDeserializer(allow_pickle=True),
        numpy.array([TEXT, TEXT]),
    )
    assert array.shape == (2,) and array[0] == {"generated_text": whole}, array
    rows = f'inputs\n"{TEXT}"\n'
    table = through(IdentitySerializer("text/csv"), PandasDeserializer("text/csv"), rows)
    assert list(table["generated_text"]) == [whole], table
    lines = through(JSONLinesSerializer(), JSONLinesDeserializer(), [{"inputs": TEXT}] * 2)
    assert lines == [[{"generated_text": whole}]] * 2, lines
    plain = through(IdentitySerializer("text/plain"), StringDeserializer(accept="text/plain"), TEXT)
    assert plain == f"{whole}\n", plain

    from sagemaker.serializers import JSONSerializer

    predictor.serializer = JSONSerializer()
    greedy = summary(url, **GREEDY)
    for accept in ("text/plain", "text/event-stream"):
        predictor.deserializer = StringDeserializer(accept=accept)
        lines = [
            line
            for line in predictor.predict_stream(
                {"inputs": TEXT, "parameters": GREEDY, "stream": True}, iterator=LineIterator
            )
        ]
        text = b"\n".join(line if isinstance(line, bytes) else line.encode() for line in lines)
        if accept == "text/plain":
            assert text.decode() == greedy, text
        else:
            events = [json.loads(line[5:]) for line in text.split(b"\n") if line]
            assert "".join(event["token"]["text"] for event in events) == greedy


def sagemaker3(url, _):
    from sagemaker.core.resources import Endpoint

    os.environ["AWS_ENDPOINT_URL_SAGEMAKER_RUNTIME"] = url
    endpoint = Endpoint(endpoint_name="any")
    answer = endpoint.invoke(
        body=json.dumps({"inputs": TEXT}),
        content_type="application/json",
        accept="application/json",
    )
    body = answer.body.read() if hasattr(answer.body, "read") else answer.body
    assert json.loads(body) == [{"generated_text": summary(url)}], body


def awscli(url, _):
    program = os.path.join(os.path.dirname(sys.executable), "aws")
    with tempfile.TemporaryDirectory() as folder:
        request, answer = os.path.join(folder, "request"), os.path.join(folder, "answer")
        with open(request, "w") as file:
            json.dump({"inputs": TEXT}, file)
        command = [program, "sagemaker-runtime", "invoke-endpoint", "--endpoint-url", url]
        command += ["--endpoint-name", "any", "--content-type", "application/json"]
        ran = subprocess.run(
            [*command, "--body", f"fileb://{request}", answer], capture_output=True, check=True
        )
        assert json.loads(ran.stdout)["ContentType"] == "application/json", ran
        with open(answer) as file:
            assert json.load(file) == [{"generated_text": summary(url)}]


def langchain(url, _):
    from langchain_aws.llms import SagemakerEndpoint
    from langchain_aws.llms.sagemaker_endpoint import LLMContentHandler
    from langchain_huggingface import HuggingFaceEndpoint
    from langchain_openai import ChatOpenAI

    whole = summary(url, max_new_tokens=12)
    hub = HuggingFaceEndpoint(endpoint_url=url, max_new_tokens=12, huggingfacehub_api_token="x")
    assert hub.invoke(TEXT) == whole
    assert "".join(hub.stream(TEXT)) == whole
    chat = ChatOpenAI(base_url=f"{url}/v1", api_key="local", model="any", extra_body=GREEDY)
    greedy = summary(url, **GREEDY)
    assert chat.invoke(TEXT).content == greedy
    assert "".join(chunk.content for chunk in chat.stream(TEXT)) == greedy

    class Handler(LLMContentHandler):
        content_type = "application/json"
        accepts = "application/json"

        def transform_input(self, prompt, parameters):
            return json.dumps({"inputs": prompt, "parameters": parameters}).encode()

        def transform_output(self, output):
            return json.loads(output.read())[0]["generated_text"]

    endpoint = SagemakerEndpoint(
        endpoint_name="any", client=runtime(url), content_handler=Handler(), model_kwargs=GREEDY
    )
    assert endpoint.invoke(TEXT) == greedy


def llamaindex(url, _):
    from llama_index.core.llms import ChatMessage
    from llama_index.llms.huggingface_api import HuggingFaceInferenceAPI
    from llama_index.llms.openai_like import OpenAILike

    chat = OpenAILike(
        model="any", api_base=f"{url}/v1", api_key="local", is_chat_model=True, max_tokens=12
    )
    whole = summary(url, max_new_tokens=12)
    message = ChatMessage(role="user", content=TEXT)
    assert chat.chat([message]).message.content == whole
    assert "".join(piece.delta or "" for piece in chat.stream_chat([message])) == whole
    hub = HuggingFaceInferenceAPI(model=url, task="text-generation", num_output=12)
    assert hub.complete(TEXT).text == whole


def main():
    name, url, summarization = sys.argv[1:]
    os.environ.update(
        AWS_ACCESS_KEY_ID="local", AWS_SECRET_ACCESS_KEY="local", AWS_DEFAULT_REGION="us-east-1"
    )
    globals()[name](url, summarization)


if __name__ == "__main__":
    main()
