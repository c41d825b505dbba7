"""From data to an endpoint and back: every command of the AWS side in turn, on this machine.

    python3 -m venv VENV && VENV/bin/pip install -r tests/aws/requirements.txt
    VENV/bin/python tests/aws/end_to_end.py target/debug/epitome

S3, SageMaker, CloudWatch and Application Auto Scaling are moto's; the endpoint that is called, and
the container of jobs, is `epitome serve` with what was uploaded (imitation.py). Every call is
checked against botocore's model of its service. moto trains nothing: the trained model of the
repository is put where its training job says that the model is. Everything is on loopback and ends
with this process, which has a time limit.
"""

import datetime
import gzip
import io
import json
import logging
import os
import pathlib
import shutil
import signal
import subprocess
import sys
import tarfile
import tempfile
import time

from account import REGION
from moto.server import ThreadedMotoServer

from imitation import Aws, Container, ask, serving

ROOT = pathlib.Path(__file__).resolve().parents[2]
BUCKET = "summaries"
ROLE = "arn:aws:iam::123456789012:role/service-role/training"
IMAGE = "123456789012.dkr.ecr.eu-west-1.amazonaws.com/epitome:latest"
ARTICLE = str(ROOT / "fixtures/articles/enigma.txt")
LOG = [
    "Training Env:",
    "{'loss': 2.3125, 'learning_rate': 4.5e-05, 'epoch': 0.5}",
    "  eval_rouge1             =    45.2301",
]
# Time limit in seconds. The binary is a debug build, and the machine may be busy.
LIMIT = 900


class Stage:
    """Runs the commands, and reads their resources from moto."""

    def __init__(self, aws):
        self.aws, self.binary, self.work = aws, aws.binary, aws.work
        self.client = aws.client

    def epitome(self, *arguments, code=0):
        """Shows and runs a command. Returns its output."""
        arguments = [str(argument) for argument in arguments]
        print("\n$ epitome", " ".join(arguments), flush=True)
        start = time.monotonic()
        done = subprocess.run(
            [self.binary, *arguments],
            env={**os.environ, "AWS_ENDPOINT_URL": self.aws.url},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
        )
        print(done.stderr + done.stdout + f"[{time.monotonic() - start:.1f} s]", flush=True)
        if done.returncode != code:
            sys.exit(f"it ended with {done.returncode}")
        self.said = done.stderr
        return done.stdout

    def file(self, name, text):
        """A file with this text."""
        path = self.work / name
        path.write_text(text)
        return path

    def expect(self, *words):
        """The standard error of the last command."""
        for word in words:
            assert word in self.said, f"'{word}' was not said"

    def names(self, kind):
        """All resources of a kind in SageMaker."""
        field = {"models": "Model", "endpoint_configs": "EndpointConfig", "endpoints": "Endpoint"}[
            kind
        ]
        return [
            item[f"{field}Name"]
            for item in getattr(self.client("sagemaker"), f"list_{kind}")()[f"{field}s"]
        ]


def prepare_and_train(stage):
    """Data, and a job that reads it."""
    stage.client("s3").create_bucket(
        Bucket=BUCKET, CreateBucketConfiguration={"LocationConstraint": REGION}
    )
    stage.epitome(
        *(
            "prepare",
            ROOT / "fixtures/summaries/validation-1000.csv",
            "--output",
            stage.work / "data",
        ),
        *("--tokenizer", ROOT / "fixtures/tiny/pegasus-relu", "--upload", f"s3://{BUCKET}/data"),
    )
    stage.expect("850 rows to train on and 150 to validate with", f's3://{BUCKET}/data/validation"')

    scripts = stage.work / "source"
    scripts.mkdir()
    (scripts / "run_summarization.py").write_text("print('training')\n")
    settings = stage.work / "train.toml"
    settings.write_text((ROOT / "examples/train.toml").read_text())
    logs, group = stage.client("logs"), "/aws/sagemaker/TrainingJobs"
    stream = {"logGroupName": group, "logStreamName": "news-1/algo-1-1600000000"}
    logs.create_log_group(logGroupName=group)
    logs.create_log_stream(**stream)
    now = int(time.time() * 1000)
    logs.put_log_events(**stream, logEvents=[{"timestamp": now, "message": line} for line in LOG])
    job = stage.epitome("train", settings, "--job-name", "news-1", "--interval", "0.1").strip()
    stage.expect(
        "loss 2.3125", "eval_rouge1 45.2301", f"Its model: s3://{BUCKET}/news-1/output/model.tar.gz"
    )

    asked = stage.client("sagemaker").describe_training_job(TrainingJobName=job)
    source = json.loads(asked["HyperParameters"]["sagemaker_submit_directory"])
    channels = [
        channel["DataSource"]["S3DataSource"]["S3Uri"] for channel in asked["InputDataConfig"]
    ]
    for prefix in [source, *channels]:
        key = prefix.removeprefix(f"s3://{BUCKET}/")
        assert (
            stage.client("s3").list_objects_v2(Bucket=BUCKET, Prefix=key)["KeyCount"] == 1
        ), prefix
    stage.client("s3").upload_file(
        str(ROOT / "fixtures/pegasus-debian.tar.gz"), BUCKET, f"{job}/output/model.tar.gz"
    )
    return job


def export_and_deploy(stage, job):
    """Puts the job's model as a bundle on S3 behind an endpoint. Returns the endpoint's folder."""
    bundle = f"s3://{BUCKET}/bundles/{job}/"
    stage.epitome(
        "export", "--training-job", job, "--wait", "--interval", "0.1", "--output", bundle
    )
    deploy = ["deploy", "--endpoint", "news", "--image", IMAGE, "--role", ROLE, "--interval", "0.1"]
    stage.epitome(*deploy, "--model", f"{bundle}model.tar.gz")
    stage.expect("Created endpoint news")
    stage.epitome(*deploy, "--model", f"{bundle}model.tar.gz")
    stage.expect("has these settings already")
    assert stage.names("endpoints") == ["news"]
    stage.epitome(*deploy, "--model", f"{bundle}model.tar.gz", "--instance-type", "ml.m5.2xlarge")
    stage.expect("Updated endpoint news", "removing configuration")
    (config,) = stage.names("endpoint_configs")
    config = stage.client("sagemaker").describe_endpoint_config(EndpointConfigName=config)
    assert config["ProductionVariants"][0]["InstanceType"] == "ml.m5.2xlarge"
    stage.epitome("autoscale", "--endpoint", "news", "--max", "3")

    sagemaker = stage.client("sagemaker")
    (model,) = stage.names("models")
    data = sagemaker.describe_model(ModelName=model)["PrimaryContainer"]["ModelDataUrl"]
    archive = stage.work / "model.tar.gz"
    stage.client("s3").download_file(BUCKET, data.removeprefix(f"s3://{BUCKET}/"), str(archive))
    folder = stage.work / "model"
    with tarfile.open(archive) as packed:
        packed.extractall(folder, filter="data")

    # A local bundle is deployed to another endpoint. It is uploaded once.
    upload = ["--model", folder, "--upload", f"s3://{BUCKET}/bundles"]
    for said in ["Created endpoint news-local", "is there already"]:
        stage.epitome(*deploy[:2], "news-local", *deploy[3:], *upload)
        stage.expect(said)
    return folder


def invoke(stage, folder):
    """The endpoint answers with the summaries of the bundle."""
    flags = ["--num-beams", "2"]
    expected = stage.epitome("summarize", "--model", folder, ARTICLE, *flags)
    assert expected.strip()
    with serving(stage.binary, folder) as url:
        ask = ["invoke", "--endpoint", "news", "--endpoint-url", url, ARTICLE]
        assert stage.epitome(*ask, *flags) == expected
        assert "length_penalty 1.5" in stage.epitome(*ask, "--length-penalty", "0.6,1.5")
        stage.epitome(*ask, "--num-beams", "1", "--stream")


def transform(stage, folder):
    """Files below a prefix, on two instances. Failures are listed, and only they run again."""
    s3 = stage.client("s3")
    article = pathlib.Path(ARTICLE).read_text()
    texts = [" ".join(article.split()[start : start + 60]) for start in range(0, 60, 12)]
    lines = [json.dumps({"inputs": text, "parameters": {"num_beams": 2}}) for text in texts]
    for name, body in [("a.jsonl", lines), ("sub/b.jsonl", lines[::-1]), ("c.jsonl", ["{no JSON"])]:
        s3.put_object(Bucket=BUCKET, Key=f"documents/{name}", Body="\n".join(body) + "\n")
    command = [
        *(
            "transform",
            "--model",
            folder,
            "--upload",
            f"s3://{BUCKET}/bundles",
            "--image",
            IMAGE,
            "--role",
            ROLE,
        ),
        *(
            "--input",
            f"s3://{BUCKET}/documents",
            "--output",
            f"s3://{BUCKET}/summaries",
            "--interval",
            "0.2",
        ),
        *("--instance-count", "2", "--retries", "0"),
    ]
    assert "CreateTransformJob" in stage.epitome(*command, "--dry-run")
    stage.epitome(*command, "--job-name", "nightly", code=1)
    stage.expect("AWS bills the instances until it ends", "1 of 3 files have no summary")
    written = (
        lambda name: s3.get_object(Bucket=BUCKET, Key=f"summaries/{name}.out")["Body"]
        .read()
        .decode()
    )
    summaries = [json.loads(line) for line in written("a.jsonl").splitlines()]
    assert [json.loads(line) for line in written("sub/b.jsonl").splitlines()] == summaries[::-1]
    expected = stage.epitome(
        "summarize", "--model", folder, "--num-beams", "2", stage.file("a.txt", texts[0])
    )
    first = summaries[0][0] if isinstance(summaries[0], list) else summaries[0]
    assert first["generated_text"] == expected.strip(), (first, expected)

    # The file is repaired, and the same command runs only that file.
    s3.put_object(Bucket=BUCKET, Key="documents/c.jsonl", Body=lines[2] + "\n")
    s3.delete_object(Bucket=BUCKET, Key="summaries/c.jsonl.out")
    before = s3.head_object(Bucket=BUCKET, Key="summaries/a.jsonl.out")["LastModified"]
    assert stage.epitome(*command, "--job-name", "nightly-2").strip() == f"s3://{BUCKET}/summaries"
    stage.expect("2 of 3 files have an output already", "reads 1 file", "Summaries of 3 files")
    assert s3.head_object(Bucket=BUCKET, Key="summaries/a.jsonl.out")["LastModified"] == before
    left = s3.list_objects_v2(Bucket=BUCKET, Prefix="summaries/")["Contents"]
    assert all(item["Key"].endswith(".out") for item in left), left

    joined = [
        "--input",
        f"s3://{BUCKET}/documents",
        "--output",
        f"s3://{BUCKET}/joined",
        "--interval",
        "0.2",
    ]
    stage.epitome(*command[:9], *joined, "--join", "--single-record")
    first, *_ = s3.get_object(Bucket=BUCKET, Key="joined/a.jsonl.out")["Body"].read().splitlines()
    assert json.loads(first)["inputs"] == texts[0] and "SageMakerOutput" in json.loads(first)
    s3.put_object(Bucket=BUCKET, Key="texts/one.txt", Body=texts[0])
    here = [f"--{flag}=s3://{BUCKET}/texts" for flag in ("input", "output")]
    stage.epitome(*command[:9], *here, "--interval", "0.2")
    assert s3.get_object(Bucket=BUCKET, Key="texts/one.txt.out")["Body"].read().strip()
    for model in stage.names("models"):
        assert not model.startswith(("nightly", "transform")), model


def later(stage, folder):
    """An asynchronous endpoint with a folder of documents: the same summaries, each made once."""
    deploy = [
        "deploy",
        "--endpoint",
        "later",
        "--image",
        IMAGE,
        "--role",
        ROLE,
        "--interval",
        "0.1",
    ]
    output = ["--async-output", f"s3://{BUCKET}/answers"]
    stage.epitome(*deploy, "--model", folder, "--upload", f"s3://{BUCKET}/bundles", *output)
    stage.expect("asynchronous: AWS bills the instances")
    documents = stage.work / "articles"
    documents.mkdir()
    for number, article in enumerate(sorted((ROOT / "fixtures/articles").glob("*.txt"))):
        (documents / f"{number}.txt").write_text(article.read_text())
    count = len(list(documents.iterdir()))
    summaries = stage.work / "later"
    ask = ["invoke", "--async", "--endpoint", "later", "--interval", "0.1", "--num-beams", "2"]
    with serving(stage.binary, folder) as url:
        stage.aws.served = url
        stage.epitome(*ask, documents, "--output-dir", summaries)
        stage.expect(f"Summarized {count} of {count} files")
        written = {path.name: path.read_text() for path in summaries.iterdir()}
        assert len(written) == count
        same = stage.epitome(
            *(
                "summarize",
                "--model",
                folder,
                "--long",
                "first",
                "--num-beams",
                "2",
                "--format",
                "text",
            ),
            documents / "0.txt",
        )
        assert written["0.txt.txt"] == same
        stage.epitome(*ask, documents, "--output-dir", summaries)
        stage.expect("Summarized 0 of 0 files", f"{count} were there already")
        assert stage.epitome(*ask, documents / "0.txt") == same
    recorded = json.loads((ROOT / "fixtures/aws/requests.json").read_text())["invoke_async"][0][
        "headers"
    ]
    optional = {"x-amzn-sagemaker-invocationtimeoutseconds", "x-amzn-sagemaker-requestttlseconds"}
    assert (
        stage.aws.async_headers == {name.lower() for name in recorded} - optional
    ), stage.aws.async_headers
    left = stage.client("s3").list_objects_v2(Bucket=BUCKET, Prefix="answers/requests/")
    assert left["KeyCount"] == 0
    stage.epitome("autoscale", "--endpoint", "later", "--min", "0", "--max", "2", "--backlog", "5")
    alarms = lambda: [
        it["AlarmName"] for it in stage.client("cloudwatch").describe_alarms()["MetricAlarms"]
    ]
    assert "later-wake" in alarms()
    stage.epitome("autoscale", "--endpoint", "later", "--off")
    assert "later-wake" not in alarms()


def compare(stage, folder):
    """Two bundles behind one endpoint, and a change of weights that an alarm rolls back."""
    command = [
        *(
            "deploy",
            "--endpoint",
            "compared",
            "--image",
            IMAGE,
            "--role",
            ROLE,
            "--interval",
            "0.1",
        ),
        *("--model", f"old=s3://{BUCKET}/bundles/news-1/model.tar.gz", "--model", f"new={folder}"),
        *("--upload", f"s3://{BUCKET}/bundles", "--model-package-group", "summaries"),
        *(
            "--vpc",
            "subnet-1,subnet-2,sg-1",
            "--kms-key",
            "alias/mine",
            "--data-capture",
            f"s3://{BUCKET}/captured",
        ),
    ]
    stage.epitome(*command, "--variant-weights", "9,1")
    stage.expect("Created endpoint compared", "Registered as arn:aws:sagemaker")
    weights = lambda: [
        variant["DesiredWeight"]
        for variant in stage.client("sagemaker").describe_endpoint(EndpointName="compared")[
            "ProductionVariants"
        ]
    ]
    assert weights() == [9, 1], weights()
    cloudwatch = stage.client("cloudwatch")
    cloudwatch.put_metric_alarm(
        AlarmName="errors",
        **{
            "ComparisonOperator": "GreaterThanThreshold",
            "EvaluationPeriods": 1,
            "Threshold": 1,
            "Period": 60,
        },
        **{"MetricName": "Invocation5XXErrors", "Namespace": "AWS/SageMaker", "Statistic": "Sum"},
    )
    careful = [*command, "--rollback-alarm", "errors", "--bake", "0.3"]
    cloudwatch.set_alarm_state(AlarmName="errors", StateValue="OK", StateReason="quiet")
    stage.epitome(*careful, "--variant-weights", "5,5")
    stage.expect("Changed the weights of endpoint compared")
    assert weights() == [5, 5], weights()
    cloudwatch.set_alarm_state(AlarmName="errors", StateValue="ALARM", StateReason="loud")
    stage.epitome(*careful, "--variant-weights", "0.5,9.5", code=1)
    stage.expect("went back to its earlier weights, because alarm errors went off")
    assert weights() == [5, 5], weights()
    versions = stage.client("sagemaker").list_model_packages(ModelPackageGroupName="summaries")
    assert len(versions["ModelPackageSummaryList"]) == 2


def status(stage):
    """The output of `status` for people and for scripts."""
    now = datetime.datetime.now(datetime.timezone.utc)
    dimensions = [
        {"Name": "EndpointName", "Value": "news"},
        {"Name": "VariantName", "Value": "AllTraffic"},
    ]
    values = [("Invocations", 41.0), ("ModelLatency", 250_000.0), ("Invocation5XXErrors", 2.0)]
    stage.client("cloudwatch").put_metric_data(
        Namespace="AWS/SageMaker",
        MetricData=[
            {"MetricName": name, "Dimensions": dimensions, "Timestamp": now, "Value": value}
            for name, value in values
        ],
    )
    table = stage.epitome("status")
    for words in ["news-local", "ml.m5.2xlarge", "1 to 3", "41", "250 ms", "async"]:
        assert words in table, words
    found = json.loads(stage.epitome("status", "compared", "--format", "json"))
    assert [variant["name"] for variant in found["endpoints"][0]["variants"]] == ["old", "new"]

    logs, group = stage.client("logs"), "/aws/sagemaker/Endpoints/news"
    stream = {"logGroupName": group, "logStreamName": "AllTraffic/i-1"}
    logs.create_log_group(logGroupName=group)
    logs.create_log_stream(**stream)
    lines = [f"line {number}" for number in range(5)]
    time_ms = int(time.time() * 1000)
    logs.put_log_events(
        **stream,
        logEvents=[{"timestamp": time_ms + at, "message": line} for at, line in enumerate(lines)],
    )
    assert stage.epitome("status", "news", "--logs", "--lines", "3").splitlines() == lines[2:]

    jobs = json.loads(stage.epitome("status", "--jobs", "--format", "json"))["jobs"]
    assert {job["kind"] for job in jobs} == {"training", "transform"}
    stage.epitome("status", "nightly", "--stop", code=1)
    stage.expect("has ended already")
    stage.epitome("status", "nobody", code=2)


def image(stage, folder):
    """The image in the account's registry has everything that the program needs to serve."""
    registry = stage.aws.registry
    pushed = stage.epitome("image", "--push").strip()
    name = pushed.partition("/")[2]
    digest, manifest = registry.manifests[name]
    stage.expect(f"Pushed {digest}")
    assert (
        stage.client("ecr").describe_repositories()["repositories"][0]["repositoryName"]
        == "epitome"
    )
    blobs = dict(registry.blobs)
    assert stage.epitome("image", "--push").strip() == pushed
    assert registry.blobs == blobs and registry.manifests[name][0] == digest
    config = json.loads(registry.blobs[manifest["config"]["digest"]])
    assert config["config"]["Entrypoint"] == ["/opt/epitome/epitome"]
    if os.geteuid() != 0:
        print("image: not run, it takes root")
        return
    root = stage.work / "root"
    with tarfile.open(
        fileobj=io.BytesIO(gzip.decompress(registry.blobs[manifest["layers"][0]["digest"]]))
    ) as layer:
        layer.extractall(root, filter="tar")
    shutil.copytree(folder, root / "opt/ml/model")
    settings = dict(entry.split("=", 1) for entry in config["config"]["Env"])
    settings.update(EPITOME_SUPERVISE="false", EPITOME_HOST="127.0.0.1")
    # ONNX Runtime reads /proc, which a container has.
    (root / "proc").mkdir()
    if subprocess.run(["mount", "--bind", "/proc", root / "proc"], check=False).returncode:
        print("image: not run, for nothing can be mounted here")
        return
    try:
        container = Container(
            "chroot", "/opt/ml/model", settings, before=[root, "/opt/epitome/epitome"]
        )
        try:
            body = json.dumps(
                {"inputs": pathlib.Path(ARTICLE).read_text(), "parameters": {"num_beams": 1}}
            )
            status, answer = ask(
                container.url, "POST", "/invocations", body, {"Content-Type": "application/json"}
            )
            assert status == 200 and json.loads(answer)[0]["generated_text"], answer
        finally:
            container.stop()
    finally:
        subprocess.run(["umount", root / "proc"], check=True)


def undeploy(stage):
    """No resources of the endpoints are left."""
    stage.epitome("undeploy", "--endpoint", "news-local", "--yes", "--interval", "0.1")
    assert "news-local" not in stage.names("endpoints")
    stage.epitome("undeploy", "--all", "--yes", "--interval", "0.1")
    for kind in ["models", "endpoint_configs", "endpoints"]:
        assert stage.names(kind) == [], kind


def stop(number, _):
    """Ends all started processes, like an error."""
    sys.exit(f"stopped by signal {number}: the time limit is {LIMIT} s")


def main():
    signal.signal(signal.SIGTERM, stop)
    signal.signal(signal.SIGALRM, stop)
    signal.alarm(LIMIT)
    binary = str(pathlib.Path(sys.argv[1]).resolve())
    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    with tempfile.TemporaryDirectory() as work:
        aws = Aws(binary, work)
        server.start()
        try:
            host, port = server.get_host_and_port()
            aws.url = f"http://{host}:{port}"
            stage = Stage(aws)
            job = prepare_and_train(stage)
            folder = export_and_deploy(stage, job)
            invoke(stage, folder)
            transform(stage, folder)
            later(stage, folder)
            compare(stage, folder)
            status(stage)
            image(stage, folder)
            undeploy(stage)
        finally:
            server.stop()
    assert not aws.invalid, "\n".join(aws.invalid)
    print("\nfrom data to an endpoint and back: all well")


main()
