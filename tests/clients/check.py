"""Runs real clients against servers of this machine.

    python3 -m venv VENV && VENV/bin/pip install -r tests/clients/requirements.txt
    VENV/bin/python tests/clients/check.py target/debug/epitome [NAME ...]

The names are those of the checks; without any, all run. No account is needed: keys are made up.
"""

import asyncio
import contextlib
import io
import json
import os
import pathlib
import subprocess
import sys
import tempfile
import threading

ROOT = pathlib.Path(__file__).resolve().parents[2]
TEXT = (
    "The river rose after a week of rain and the town opened its gates. "
    "Farmers moved the cattle to the hills before the water reached the lower fields."
)
GREEDY = {"num_beams": 1, "max_new_tokens": 12}
BEAMS = {"num_beams": 2, "max_new_tokens": 12}

# Ignores the machine's settings of AWS and of the hub.
for variable in list(os.environ):
    if variable.startswith(("AWS_", "HF_", "OPENAI_", "SAGEMAKER_", "EPITOME_")):
        del os.environ[variable]
os.environ.update(AWS_EC2_METADATA_DISABLED="true", HF_HUB_DISABLE_TELEMETRY="1")


class Server:
    """`epitome serve` with a small model, until the block ends."""

    def __init__(self, binary, model, **environment):
        command = [binary, "serve", "--port", "0", "--model", model]
        self.process = subprocess.Popen(
            command, stderr=subprocess.PIPE, text=True, env={**os.environ, **environment}
        )
        for line in self.process.stderr:
            entry = json.loads(line)
            if entry.get("message") == "listening":
                self.url = entry["url"]
                break
        else:
            raise SystemExit("the server ended before it listened")
        # Drops the log, so that the pipe does not fill up.
        threading.Thread(target=self.process.stderr.read, daemon=True).start()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.terminate()
        self.process.wait(60)


def sagemaker(url):
    import boto3
    from botocore.config import Config

    return boto3.client(
        "sagemaker-runtime",
        endpoint_url=url,
        region_name="us-east-1",
        aws_access_key_id="local",
        aws_secret_access_key="local",
        config=Config(retries={"max_attempts": 1}),
    )


def summary(url, **parameters):
    """The summary of the text from boto3."""
    body = json.dumps({"inputs": TEXT, "parameters": parameters})
    answer = sagemaker(url).invoke_endpoint(
        EndpointName="any", ContentType="application/json", Body=body
    )
    value = json.loads(answer["Body"].read())[0]
    return value.get("generated_text") or value["summary_text"]


def expect_error(kinds, call):
    try:
        result = call()
    except kinds as error:
        return error
    raise AssertionError(f"expected an error, got {result!r}")


def check_boto3(server):
    """The loops of public samples over a stream, the deserializers of the SDK, and errors."""
    import numpy
    import pandas

    runtime = sagemaker(server.url)
    # Calls of SageMaker's tutorial.
    for penalty in (0.6, 1.5):
        body = json.dumps({"inputs": TEXT, "parameters": {"length_penalty": penalty}})
        answer = runtime.invoke_endpoint(
            EndpointName="any",
            ContentType="application/json",
            Accept="application/json",
            CustomAttributes="request=1",
            Body=body,
        )
        assert answer["CustomAttributes"] == "request=1"
        assert answer["InvokedProductionVariant"] == "AllTraffic"
        assert json.loads(answer["Body"].read())[0]["generated_text"]
    for parameters in (GREEDY, BEAMS):
        whole = summary(server.url, **parameters)
        body = json.dumps({"inputs": TEXT, "parameters": parameters, "stream": True})
        stream = runtime.invoke_endpoint_with_response_stream(
            EndpointName="any", ContentType="application/json", Body=body
        )
        assert stream["ContentType"] == "text/event-stream", stream["ContentType"]
        lines = b"".join(part["PayloadPart"]["Bytes"] for part in stream["Body"]).splitlines()
        events = [json.loads(line.removeprefix(b"data:")) for line in lines if line]
        assert "".join(event["token"]["text"] for event in events) == whole
        assert events[-1]["generated_text"] == whole
        assert events[-1]["details"]["generated_tokens"] == len(events)

    def invoke(body, content_type, accept):
        answer = runtime.invoke_endpoint(
            EndpointName="any", ContentType=content_type, Accept=accept, Body=body
        )
        assert answer["ContentType"] == accept, answer["ContentType"]
        return answer["Body"].read()

    whole = summary(server.url)
    table = pandas.read_csv(io.BytesIO(invoke(f'inputs\n"{TEXT}"\n', "text/csv", "text/csv")))
    assert list(table["generated_text"]) == [whole]
    array = io.BytesIO()
    numpy.save(array, numpy.array([TEXT, TEXT]))
    answer = invoke(array.getvalue(), "application/x-npy", "application/x-npy")
    loaded = numpy.load(io.BytesIO(answer), allow_pickle=True)
    assert loaded.shape == (2,) and loaded[1] == {"generated_text": whole}, loaded
    two = {"inputs": [TEXT, TEXT], "parameters": {**BEAMS, "num_return_sequences": 2}}
    loaded = invoke(json.dumps(two), "application/json", "application/x-npy")
    assert numpy.load(io.BytesIO(loaded), allow_pickle=True).shape == (2, 2)
    assert invoke(TEXT, "text/plain", "text/plain") == f"{whole}\n".encode()

    for body, part in (
        ("{", "not JSON"),
        ("{}", "`inputs`"),
        (json.dumps({"inputs": TEXT, "parameters": {"num_beam": 1}}), "`num_beams`"),
    ):
        for call in (runtime.invoke_endpoint, runtime.invoke_endpoint_with_response_stream):
            error = expect_error(
                runtime.exceptions.ModelError, lambda: call(EndpointName="any", Body=body)
            ).response
            original = json.loads(error["OriginalMessage"])
            assert error["OriginalStatusCode"] == original["code"] == 400, error
            assert part in original["message"] and original["error"] == original["message"]

    def refused(**arguments):
        arguments = {"EndpointName": "any", "Body": "{}", **arguments}
        return expect_error(
            runtime.exceptions.ClientError, lambda: runtime.invoke_endpoint(**arguments)
        ).response["Error"]["Code"]

    assert refused(EndpointName="-") == "ValidationError"
    assert refused(TargetVariant="green") == "ValidationError"
    assert refused(TargetModel="other.tar.gz") == "ValidationError"
    assert refused(InferenceComponentName="part") == "ValidationError"


def check_huggingface_hub(server):
    from huggingface_hub import InferenceClient
    from huggingface_hub.errors import HfHubHTTPError, ValidationError

    client = InferenceClient(server.url)
    parameters = {"max_new_tokens": 12, "do_sample": False}
    whole = summary(server.url, **parameters)
    assert client.text_generation(TEXT, **parameters) == whole
    pieces = list(client.text_generation(TEXT, stream=True, **parameters))
    assert len(pieces) > 1 and "".join(pieces) == whole, pieces
    details = list(client.text_generation(TEXT, stream=True, details=True, **parameters))
    assert details[-1].generated_text == whole, details[-1]
    assert details[-1].details.finish_reason in ("length", "eos_token", "stop_sequence")
    assert client.text_generation(TEXT, details=True, **parameters).generated_text == whole
    refused = expect_error(
        ValidationError, lambda: client.text_generation(TEXT, grammar={"type": "json", "value": {}})
    )
    assert "`grammar`" in str(refused), refused
    completion = client.chat_completion([{"role": "user", "content": TEXT}], max_tokens=12)
    assert completion.choices[0].message.content == summary(server.url, max_new_tokens=12)
    missing = expect_error(HfHubHTTPError, lambda: client.summarization(" "))
    assert "empty" in str(missing), missing


def check_huggingface_hub_summarization(server):
    """Tests with HF_TASK=summarization, the setting of the hub's servers of this task."""
    from huggingface_hub import InferenceClient

    client = InferenceClient(server.url)
    found = client.summarization(
        TEXT,
        generate_parameters=BEAMS,
        truncation="longest_first",
        clean_up_tokenization_spaces=False,
    )
    assert found.summary_text == summary(server.url, **BEAMS), found


def check_openai(server):
    from openai import AsyncOpenAI, BadRequestError, NotFoundError, OpenAI

    arguments = dict(base_url=f"{server.url}/v1", api_key="local", max_retries=0)
    client = OpenAI(**arguments)
    (model,) = client.models.list().data
    assert client.models.retrieve(model.id).id == model.id
    expect_error(NotFoundError, lambda: client.models.retrieve("other"))
    messages = [
        {"role": "system", "content": "Summarize."},
        {"role": "user", "content": [{"type": "text", "text": TEXT}]},
    ]

    def complete(**more):
        return client.chat.completions.create(model=model.id, messages=messages, **more)

    for parameters in (GREEDY, BEAMS):
        whole = summary(server.url, **parameters)
        completion = complete(extra_body=parameters)
        (choice,) = completion.choices
        assert choice.message.content == whole and choice.finish_reason in ("stop", "length")
        usage = completion.usage
        assert usage.total_tokens == usage.prompt_tokens + usage.completion_tokens > 0
        chunks = list(
            complete(extra_body=parameters, stream=True, stream_options={"include_usage": True})
        )
        pieces = [chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices]
        assert "".join(pieces) == whole and len(pieces) > 2, pieces
        assert chunks[-1].usage == usage
    prompted = client.completions.create(model="any", prompt=TEXT, max_tokens=12)
    assert prompted.choices[0].text == summary(server.url, max_new_tokens=12), prompted
    assert complete(max_tokens=12, temperature=0.2).choices[0].message.content
    both = complete(n=2, extra_body=BEAMS)
    assert [choice.index for choice in both.choices] == [0, 1]
    tool = {"type": "function", "function": {"name": "f", "parameters": {}}}
    image = {"type": "image_url", "image_url": {"url": "data:,"}}
    for more in (
        {"tools": [tool]},
        {"logprobs": True},
        {"n": 2, "stream": True, "extra_body": BEAMS},
        {"response_format": {"type": "json_object"}},
        {"extra_body": {"num_beam": 2}},
        {"messages": [{"role": "user", "content": [image]}]},
    ):
        call = {"model": "any", "messages": messages, **more}
        error = expect_error(BadRequestError, lambda: client.chat.completions.create(**call))
        assert error.body["message"] and error.body["type"] == "invalid_request_error", error.body

    async def at_once():
        client = AsyncOpenAI(**arguments)
        calls = (client.chat.completions.create(model="any", messages=messages) for _ in range(8))
        return await asyncio.gather(*calls)

    contents = {answer.choices[0].message.content for answer in asyncio.run(at_once())}
    assert contents == {summary(server.url)}, contents


def check_mcp(server, binary, model):
    from mcp import ClientSession, StdioServerParameters
    from mcp.client.stdio import stdio_client

    async def talk(folder):
        allowed = pathlib.Path(folder, "report.txt")
        allowed.write_text(TEXT)
        arguments = ["mcp", "--model", model, "--folder", folder]
        parameters = StdioServerParameters(command=binary, args=arguments)
        async with stdio_client(parameters) as (read, write), ClientSession(read, write) as session:
            assert (await session.initialize()).server_info.name == "epitome"
            await session.send_ping()
            names = [tool.name for tool in (await session.list_tools()).tools]
            assert names == ["summarize_text", "summarize_file"], names
            given = {"text": TEXT, "parameters": BEAMS}
            result = await session.call_tool("summarize_text", given)
            assert not result.is_error, result
            parts = summary(server.url, long="parts", **BEAMS)
            assert result.content[0].text == parts, result
            assert result.structured_content["summaries"][0]["summary"] == result.content[0].text
            result = await session.call_tool("summarize_file", {"path": str(allowed)})
            parts = summary(server.url, long="parts")
            assert not result.is_error and result.content[0].text == parts, result
            for tool, given, part in (
                ("summarize_file", {"path": str(pathlib.Path(folder, "none.txt"))}, "none.txt"),
                ("summarize_file", {"path": __file__}, "none of the folders"),
                ("summarize_text", {"text": ""}, "empty"),
                ("summarize_text", {"text": TEXT, "length": "huge"}, "`length`"),
                ("summarize_text", {"text": TEXT, "parameters": {"num_beam": 1}}, "num_beams"),
            ):
                result = await session.call_tool(tool, given)
                assert result.is_error and part in result.content[0].text, result

    with tempfile.TemporaryDirectory() as folder:
        asyncio.run(talk(folder))


def check_schemathesis(server):
    """Tests requests that the OpenAPI description allows, and some that it forbids."""
    command = [
        str(pathlib.Path(sys.executable).parent / "schemathesis"),
        "--config-file",
        str(pathlib.Path(__file__).with_name("schemathesis.toml")),
        "run",
        f"{server.url}/openapi.json",
        "--max-examples=20",
        "--seed=18",
        "--workers=1",
        "--no-color",
    ]
    with tempfile.TemporaryDirectory() as folder:
        ran = subprocess.run(command, cwd=folder, capture_output=True, text=True)
    assert ran.returncode == 0, ran.stdout[-6000:]


def check_kubernetes(_):
    """Validates the example's manifest with the schemas of Kubernetes."""
    program = pathlib.Path(sys.executable).parent / "kubernetes-validate"
    subprocess.run([program, "--strict", ROOT / "examples/kubernetes.yaml"], check=True)


def main():
    binary, *names = sys.argv[1:]
    checks = {
        "boto3": check_boto3,
        "huggingface_hub": check_huggingface_hub,
        "huggingface_hub_summarization": check_huggingface_hub_summarization,
        "openai": check_openai,
        "mcp": check_mcp,
        "schemathesis": check_schemathesis,
        "kubernetes": check_kubernetes,
    }
    binary = str(pathlib.Path(binary).resolve())
    with tempfile.TemporaryDirectory() as folder, contextlib.ExitStack() as stack:
        model = str(pathlib.Path(folder, "model"))
        checkpoint = ROOT / "fixtures/tiny/pegasus-relu"
        subprocess.run(
            [binary, "export", checkpoint, "--output", model], check=True, capture_output=True
        )
        plain = stack.enter_context(Server(binary, model))
        summarization = stack.enter_context(Server(binary, model, HF_TASK="summarization"))
        for name in names or checks:
            server = summarization if name.endswith("_summarization") else plain
            more = (binary, model) if name == "mcp" else ()
            checks[name](server, *more)
            print(f"{name}: as expected", flush=True)


if __name__ == "__main__":
    main()
