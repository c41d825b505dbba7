"""boto3 against local mode: what a client of a real endpoint does must work unchanged.

    pip install boto3
    epitome serve --model MODEL &
    python endpoint/conformance/boto3_local_mode.py http://127.0.0.1:8080

No AWS account is needed: the keys are made up, and the server does not look at them.
"""

import json
import sys

import boto3
from botocore.config import Config
from botocore.exceptions import ClientError

TEXT = (
    "The river rose after a week of rain and the town opened its gates. "
    "Farmers moved the cattle to the hills before the water reached the lower fields."
)
ENDPOINT = "my-endpoint"


def client(url):
    return boto3.client(
        "sagemaker-runtime",
        endpoint_url=url,
        region_name="us-east-1",
        aws_access_key_id="local",
        aws_secret_access_key="local",
        config=Config(retries={"max_attempts": 1}),
    )


def invoke(runtime, body, **arguments):
    arguments = {"ContentType": "application/json", **arguments}
    return runtime.invoke_endpoint(EndpointName=ENDPOINT, Body=body, **arguments)


def text_of(answer):
    """The summary, whichever shape and task the server is set to."""
    value = answer[0] if isinstance(answer, list) else answer
    return value.get("generated_text") or value.get("summary_text")


def check_tutorial(runtime):
    """The tutorial's calls: length_penalty 0.6 and 1.5."""
    for penalty in (0.6, 1.5):
        body = json.dumps({"inputs": TEXT, "parameters": {"length_penalty": penalty}})
        response = invoke(runtime, body, CustomAttributes="request=1", Accept="application/json")
        assert response["ContentType"] == "application/json", response["ContentType"]
        assert response["CustomAttributes"] == "request=1"
        assert response["InvokedProductionVariant"] == "AllTraffic"
        summary = text_of(json.loads(response["Body"].read()))
        assert summary, "an empty summary"
        print(f"length_penalty {penalty}: {summary}")


def check_formats(runtime):
    lines = "\n".join(json.dumps({"inputs": TEXT}) for _ in range(2))
    response = invoke(runtime, lines, ContentType="application/jsonlines")
    assert len(response["Body"].read().splitlines()) == 2
    response = invoke(runtime, f'inputs\n"{TEXT}"\n', ContentType="text/csv", Accept="text/csv")
    assert response["ContentType"].startswith("text/csv")
    response = invoke(runtime, TEXT, ContentType="text/plain", Accept="text/plain")
    assert response["Body"].read()


def check_errors(runtime):
    for body, status, part in (
        ("{", 400, "not JSON"),
        ("{}", 400, "`inputs`"),
        (json.dumps({"inputs": TEXT, "parameters": {"num_beam": 1}}), 400, "`num_beams`"),
    ):
        try:
            invoke(runtime, body)
        except runtime.exceptions.ModelError as error:
            response = error.response
            assert response["OriginalStatusCode"] == status, response
            original = json.loads(response["OriginalMessage"])
            assert original["code"] == status and part in original["message"], original
        else:
            raise AssertionError(f"{body} was answered")
    try:
        runtime.invoke_endpoint(EndpointName="-", Body=b"{}")
    except ClientError as error:
        assert error.response["Error"]["Code"] == "ValidationError", error.response


def check_stream(runtime):
    parameters = {"num_beams": 1, "max_new_tokens": 16}
    body = {"inputs": TEXT, "parameters": parameters}
    whole = text_of(json.loads(invoke(runtime, json.dumps(body))["Body"].read()))
    for accept in ("text/plain", "text/event-stream"):
        response = runtime.invoke_endpoint_with_response_stream(
            EndpointName=ENDPOINT,
            ContentType="application/json",
            Accept=accept,
            Body=json.dumps({**body, "stream": True}),
        )
        assert response["ContentType"].startswith(accept), response["ContentType"]
        parts = [event["PayloadPart"]["Bytes"] for event in response["Body"]]
        assert len(parts) > 1, "it came all at once"
        streamed = b"".join(parts).decode()
        if accept == "text/event-stream":
            events = [
                json.loads(event.removeprefix("data: "))
                for event in streamed.split("\n\n")
                if event
            ]
            streamed = text_of(events[-1])
        assert streamed == whole, f"{streamed!r} is not {whole!r}"
        print(f"{accept}: {len(parts)} parts")
    try:
        runtime.invoke_endpoint_with_response_stream(EndpointName=ENDPOINT, Body=b"{")
    except runtime.exceptions.ModelError as error:
        assert error.response["OriginalStatusCode"] == 400


def main():
    runtime = client(sys.argv[1] if len(sys.argv) > 1 else "http://127.0.0.1:8080")
    for check in (check_tutorial, check_formats, check_errors, check_stream):
        check(runtime)
        print(f"{check.__name__}: as expected")


if __name__ == "__main__":
    main()
