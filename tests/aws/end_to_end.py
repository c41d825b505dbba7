"""From data to an endpoint and back: every command of the AWS side in turn, on this machine.

    python3 -m venv VENV && VENV/bin/pip install -r tests/aws/requirements.txt
    VENV/bin/python tests/aws/end_to_end.py target/debug/epitome

S3, SageMaker, CloudWatch Logs and Application Auto Scaling are moto's; the endpoint that is called is `epitome serve`, with what
was uploaded. moto trains nothing: the trained model of the repository is put where its training job says that the model is.
Everything is on loopback and ends with this process, which has a time limit.
"""

import contextlib
import json
import logging
import os
import pathlib
import signal
import subprocess
import sys
import tarfile
import tempfile
import threading
import time
import urllib.error
import urllib.request

ROOT = pathlib.Path(__file__).resolve().parents[2]
BUCKET = "summaries"
REGION = "eu-west-1"
ROLE = "arn:aws:iam::123456789012:role/service-role/training"
IMAGE = "123456789012.dkr.ecr.eu-west-1.amazonaws.com/epitome:latest"
ARTICLE = str(ROOT / "fixtures/articles/enigma.txt")
LOG = [
    "Training Env:",
    "{'loss': 2.3125, 'learning_rate': 4.5e-05, 'epoch': 0.5}",
    "  eval_rouge1             =    45.2301",
]
# Seconds for everything: it is the debug binary, on a machine that may do other things too.
LIMIT = 900

# What the machine knows of AWS is none of this script's business, and moto reads the environment as well.
for variable in [name for name in os.environ if name.startswith(("AWS_", "SAGEMAKER_"))]:
    del os.environ[variable]
os.environ.update(
    AWS_ACCESS_KEY_ID="local",
    AWS_SECRET_ACCESS_KEY="local",
    AWS_REGION=REGION,
    AWS_DEFAULT_REGION=REGION,
    AWS_CONFIG_FILE=os.devnull,
    AWS_SHARED_CREDENTIALS_FILE=os.devnull,
    AWS_EC2_METADATA_DISABLED="true",
)

import boto3
from moto.core.responses import ActionResult
from moto.sagemaker.responses import SageMakerResponse
from moto.server import ThreadedMotoServer


def update_endpoint(self):
    """moto has no UpdateEndpoint: this one gives the endpoint its new configuration at once."""
    endpoint = self.sagemaker_backend.endpoints[self._get_param("EndpointName")]
    config = self.sagemaker_backend.describe_endpoint_config(self._get_param("EndpointConfigName"))
    endpoint.endpoint_config_name = config["EndpointConfigName"]
    return ActionResult({"EndpointArn": endpoint.arn})


SageMakerResponse.update_endpoint = update_endpoint


class Stage:
    """The commands, and what they leave in moto."""

    def __init__(self, binary, work, url):
        self.binary, self.work, self.url = binary, pathlib.Path(work), url

    def client(self, service):
        return boto3.client(service, endpoint_url=self.url)

    def epitome(self, *arguments):
        """Runs a command, shows it, and gives what it printed."""
        arguments = [str(argument) for argument in arguments]
        print("\n$ epitome", " ".join(arguments), flush=True)
        start = time.monotonic()
        done = subprocess.run(
            [self.binary, *arguments],
            env={**os.environ, "AWS_ENDPOINT_URL": self.url},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
        )
        print(done.stderr + done.stdout + f"[{time.monotonic() - start:.1f} s]", flush=True)
        if done.returncode:
            sys.exit(f"it ended with {done.returncode}")
        self.said = done.stderr
        return done.stdout

    def expect(self, *words):
        """What the last command said on standard error."""
        for word in words:
            assert word in self.said, f"'{word}' was not said"

    def names(self, kind):
        """Everything of a kind that is in SageMaker."""
        field = {"models": "Model", "endpoint_configs": "EndpointConfig", "endpoints": "Endpoint"}[kind]
        return [item[f"{field}Name"] for item in getattr(self.client("sagemaker"), f"list_{kind}")()[f"{field}s"]]


@contextlib.contextmanager
def serving(binary, model):
    """`epitome serve`, while it is needed: its URL."""
    server = subprocess.Popen(
        [binary, "serve", "--port", "0", "--model", str(model)],
        stdin=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        entries = map(json.loads, server.stderr)
        url = next(entry["url"] for entry in entries if entry["message"] == "listening")
        # Its log is not wanted, but has to be taken.
        threading.Thread(target=server.stderr.read, daemon=True).start()
        wait_for(url)
        yield url
    finally:
        server.terminate()
        try:
            server.wait(timeout=30)
        except subprocess.TimeoutExpired:
            server.kill()
            server.wait()


def wait_for(url):
    """Until the server is ready."""
    end = time.monotonic() + 60
    while time.monotonic() < end:
        try:
            return urllib.request.urlopen(f"{url}/ping", timeout=5).close()
        except urllib.error.HTTPError:
            time.sleep(0.05)
    raise TimeoutError("the server is not ready after a minute")


def prepare_and_train(stage):
    """Data, and a job that reads it."""
    stage.client("s3").create_bucket(Bucket=BUCKET, CreateBucketConfiguration={"LocationConstraint": REGION})
    stage.epitome(
        *("prepare", ROOT / "fixtures/summaries/validation-1000.csv", "--output", stage.work / "data"),
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
    stage.expect("loss 2.3125", "eval_rouge1 45.2301", f"Its model: s3://{BUCKET}/news-1/output/model.tar.gz")

    asked = stage.client("sagemaker").describe_training_job(TrainingJobName=job)
    source = json.loads(asked["HyperParameters"]["sagemaker_submit_directory"])
    channels = [channel["DataSource"]["S3DataSource"]["S3Uri"] for channel in asked["InputDataConfig"]]
    for prefix in [source, *channels]:
        key = prefix.removeprefix(f"s3://{BUCKET}/")
        assert stage.client("s3").list_objects_v2(Bucket=BUCKET, Prefix=key)["KeyCount"] == 1, prefix
    stage.client("s3").upload_file(
        str(ROOT / "fixtures/pegasus-debian.tar.gz"), BUCKET, f"{job}/output/model.tar.gz"
    )
    return job


def export_and_deploy(stage, job):
    """The job's model as a bundle on S3, behind an endpoint; gives the folder that the endpoint unpacks."""
    bundle = f"s3://{BUCKET}/bundles/{job}/"
    stage.epitome("export", "--training-job", job, "--wait", "--interval", "0.1", "--output", bundle)
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

    # A bundle of this machine goes the same way, to an endpoint of its own, and is sent once.
    upload = ["--model", folder, "--upload", f"s3://{BUCKET}/bundles"]
    for said in ["Created endpoint news-local", "is there already"]:
        stage.epitome(*deploy[:2], "news-local", *deploy[3:], *upload)
        stage.expect(said)
    return folder


def invoke(stage, folder):
    """What the endpoint answers is what the bundle gives."""
    flags = ["--num-beams", "2"]
    expected = stage.epitome("summarize", "--model", folder, ARTICLE, *flags)
    assert expected.strip()
    with serving(stage.binary, folder) as url:
        ask = ["invoke", "--endpoint", "news", "--endpoint-url", url, ARTICLE]
        assert stage.epitome(*ask, *flags) == expected
        assert "length_penalty 1.5" in stage.epitome(*ask, "--length-penalty", "0.6,1.5")
        stage.epitome(*ask, "--num-beams", "1", "--stream")


def undeploy(stage):
    """Nothing of the endpoints is left."""
    for endpoint in ["news", "news-local"]:
        stage.epitome("undeploy", "--endpoint", endpoint, "--yes", "--interval", "0.1")
    for kind in ["models", "endpoint_configs", "endpoints"]:
        assert stage.names(kind) == [], kind


def stop(number, _):
    """Ends as an error does: with everything that was started."""
    sys.exit(f"stopped by signal {number}: the time limit is {LIMIT} s")


def main():
    signal.signal(signal.SIGTERM, stop)
    signal.signal(signal.SIGALRM, stop)
    signal.alarm(LIMIT)
    binary = str(pathlib.Path(sys.argv[1]).resolve())
    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    try:
        host, port = server.get_host_and_port()
        with tempfile.TemporaryDirectory() as work:
            stage = Stage(binary, work, f"http://{host}:{port}")
            job = prepare_and_train(stage)
            folder = export_and_deploy(stage, job)
            invoke(stage, folder)
            undeploy(stage)
    finally:
        server.stop()
    print("\nfrom data to an endpoint and back: all well")


main()
