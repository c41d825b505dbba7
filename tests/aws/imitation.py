"""What moto lacks of AWS: batch transform jobs that run the container, asynchronous endpoints that
answer, updates of endpoints; and a check of every call against botocore's model of the service.

The container is `epitome serve` with the environment that SageMaker gives it, a process for each
instance. As in AWS an instance takes whole files, a request is repeated after an error of the
server, a file whose request is refused has no output, and the job goes on with the other files.
"""

import base64
import contextlib
import gzip
import hashlib
import http.client
import http.server
import json
import os
import pathlib
import queue
import subprocess
import tarfile
import tempfile
import threading
import time
import urllib.parse
from concurrent.futures import ThreadPoolExecutor

import boto3
import botocore.session
from botocore.validate import ParamValidator
from moto.cloudwatch.models import Statistics
from moto.core.responses import ActionResult, BaseResponse
from moto.ecr.responses import ECRResponse
from moto.sagemaker.responses import SageMakerResponse
from moto.sagemakerruntime.responses import SageMakerRuntimeResponse

# Default number of concurrent requests of an instance, and of the largest request in MB.
CONCURRENT, PAYLOAD_MB = 1, 6
RETRIES = 3


def ask(url, method, path, body=None, headers=(), timeout=600):
    """Status and body of the answer to a request."""
    place = urllib.parse.urlsplit(url)
    connection = http.client.HTTPConnection(place.hostname, place.port, timeout=timeout)
    try:
        connection.request(method, path, body, dict(headers))
        answer = connection.getresponse()
        return answer.status, answer.read()
    finally:
        connection.close()


class Container:
    """`epitome serve` on a free port."""

    def __init__(self, binary, model, environment=(), before=()):
        self.process = subprocess.Popen(
            [binary, *map(str, before), "serve", "--port", "0", "--model", str(model)],
            env={**os.environ, **dict(environment)},
            stdin=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
        )
        entries = map(json.loads, self.process.stderr)
        self.url = next(entry["url"] for entry in entries if entry["message"] == "listening")
        # Reads and drops the log, so that the pipe does not fill up.
        threading.Thread(target=self.process.stderr.read, daemon=True).start()
        end = time.monotonic() + 120
        while ask(self.url, "GET", "/ping")[0] != 200:
            if time.monotonic() > end:
                raise TimeoutError("the server is not ready after two minutes")
            time.sleep(0.05)

    def stop(self):
        self.process.terminate()
        try:
            self.process.wait(timeout=30)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()


@contextlib.contextmanager
def serving(binary, model, environment=()):
    container = Container(binary, model, environment)
    try:
        yield container.url
    finally:
        container.stop()


class Refused(Exception):
    """The container refused a request, so that a retry would not help."""


def split_uri(uri):
    bucket, _, key = uri.removeprefix("s3://").partition("/")
    return bucket, key


class TransformJob(threading.Thread):
    """A running job. `status` is moto's description of it."""

    def __init__(self, aws, asked):
        super().__init__(daemon=True)
        self.aws, self.asked = aws, asked
        self.stopped = threading.Event()
        self.instances = []
        self.files = queue.Queue()
        self.failed = []
        self.restarts = 0

    def run(self):
        try:
            self.transform()
            status = (
                "Stopped" if self.stopped.is_set() else "Failed" if self.failed else "Completed"
            )
        except Exception as error:  # Whatever it is, the job tells it.
            self.failed.append(repr(error))
            status = "Failed"
        finally:
            for container in self.instances:
                container.stop()
        self.record.failure_reason = (
            "ClientError: See job logs for more information" if self.failed else ""
        )
        self.record.transform_job_status = status

    def transform(self):
        asked = self.asked
        model = self.aws.sagemaker.describe_model(ModelName=asked["ModelName"])["PrimaryContainer"]
        config = asked.get("ModelClientConfig", {})
        self.timeout = config.get("InvocationsTimeoutInSeconds", 600)
        self.retries = config.get("InvocationsMaxRetries", RETRIES)
        strategy = {"MultiRecord": "MULTI_RECORD", "SingleRecord": "SINGLE_RECORD"}[
            asked["BatchStrategy"]
        ]
        environment = {
            **model.get("Environment", {}),
            **asked.get("Environment", {}),
            "SAGEMAKER_BATCH": "true",
            "SAGEMAKER_BATCH_STRATEGY": strategy,
        }
        for name, field in [
            ("SAGEMAKER_MAX_PAYLOAD_IN_MB", "MaxPayloadInMB"),
            ("SAGEMAKER_MAX_CONCURRENT_TRANSFORMS", "MaxConcurrentTransforms"),
        ]:
            if asked.get(field):
                environment[name] = str(asked[field])
        environment.update(self.aws.worker_environment)
        folder = self.aws.model(model["ModelDataUrl"])
        count = asked["TransformResources"]["InstanceCount"]
        start = lambda: Container(self.aws.binary, folder, environment)
        self.instances = [start() for _ in range(count)]
        said = json.loads(ask(self.instances[0].url, "GET", "/execution-parameters")[1])
        self.concurrent = asked.get("MaxConcurrentTransforms") or said.get(
            "MaxConcurrentTransforms", CONCURRENT
        )
        self.payload = (asked.get("MaxPayloadInMB") or said.get("MaxPayloadInMB", PAYLOAD_MB)) << 20
        assert (
            self.concurrent * self.payload <= 100 << 20
        ), "AWS allows 100 MB of requests at a time"
        for name in self.inputs():
            self.files.put(name)
        workers = [threading.Thread(target=self.work, args=(at, start)) for at in range(count)]
        began = time.monotonic()
        for worker in workers:
            worker.start()
        for worker in workers:
            worker.join()
        self.seconds = time.monotonic() - began

    def inputs(self):
        """Bucket, key, and the name below the prefix of each file."""
        source = self.asked["TransformInput"]["DataSource"]["S3DataSource"]
        bucket, key = split_uri(source["S3Uri"])
        if source["S3DataType"] == "ManifestFile":
            prefix, *names = json.loads(
                self.aws.s3.get_object(Bucket=bucket, Key=key)["Body"].read()
            )
            bucket, start = split_uri(prefix["prefix"])
            return [(bucket, start + name, name) for name in names]
        pages = self.aws.s3.get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=key)
        keys = [item["Key"] for page in pages for item in page.get("Contents", []) if item["Size"]]
        return [(bucket, found, found.removeprefix(key)) for found in keys]

    def work(self, at, start):
        """An instance: processes files one by one, and starts a new container if one dies."""
        while not self.stopped.is_set():
            try:
                bucket, key, name = self.files.get_nowait()
            except queue.Empty:
                return
            for attempt in range(4):
                try:
                    self.file(self.instances[at].url, bucket, key, name)
                    break
                except Refused as error:
                    self.failed.append(f"{name}: {error}")
                    break
                except (OSError, http.client.HTTPException) as error:
                    if self.stopped.is_set():
                        return
                    if attempt == 3:
                        self.failed.append(f"{name}: {error!r}")
                    self.instances[at].stop()
                    self.restarts += 1
                    self.instances[at] = start()

    def file(self, url, bucket, key, name):
        asked = self.asked
        data = self.aws.s3.get_object(Bucket=bucket, Key=key)["Body"].read()
        if asked["TransformInput"].get("CompressionType") == "Gzip":
            data = gzip.decompress(data)
        is_split = asked["TransformInput"].get("SplitType") == "Line"
        records = data.splitlines(keepends=True) if is_split else [data]
        headers = {
            "Content-Type": asked["TransformInput"]["ContentType"],
            "Accept": asked["TransformOutput"]["Accept"],
        }

        def send(batch):
            for attempt in range(self.retries + 1):
                status, answer = ask(
                    url, "POST", "/invocations", b"".join(batch), headers, self.timeout
                )
                if status == 200:
                    return answer
                if 400 <= status < 500 and status != 429:
                    break
                time.sleep(0.2 * 2**attempt)
            raise Refused(f"{status} {answer[:200]}")

        batches = (
            self.batches(records)
            if asked["BatchStrategy"] == "MultiRecord"
            else [[it] for it in records]
        )
        with ThreadPoolExecutor(self.concurrent) as pool:
            answers = list(pool.map(send, batches))
        if asked["TransformOutput"].get("AssembleWith") == "Line":
            answers = [line for answer in answers for line in answer.splitlines()]
            if asked.get("DataProcessing", {}).get("JoinSource") == "Input":
                answers = self.join(records, answers)
            body = b"\n".join(answers) + b"\n"
        else:
            body = b"".join(answers)
        bucket, prefix = split_uri(asked["TransformOutput"]["S3OutputPath"])
        self.aws.s3.put_object(Bucket=bucket, Key=f"{prefix}/{name}.out".lstrip("/"), Body=body)

    def batches(self, records):
        batch, size = [], 0
        for record in records:
            if batch and size + len(record) > self.payload:
                yield batch
                batch, size = [], 0
            batch.append(record)
            size += len(record)
        if batch:
            yield batch

    def join(self, records, answers):
        if len(records) != len(answers):
            raise Refused(f"{len(answers)} answers to {len(records)} records cannot be joined")
        if "json" not in self.asked["TransformOutput"]["Accept"]:
            return [
                record.rstrip(b"\r\n") + b"," + answer for record, answer in zip(records, answers)
            ]
        joined = (
            {**json.loads(record), "SageMakerOutput": json.loads(answer)}
            for record, answer in zip(records, answers)
        )
        return [json.dumps(line).encode() for line in joined]


class Registry(http.server.ThreadingHTTPServer):
    """A registry of images that requires the password of ECR, and checks every digest."""

    PASSWORD = "Basic " + base64.b64encode(b"AWS:password").decode()

    def __init__(self):
        super().__init__(("127.0.0.1", 0), RegistryRequest)
        self.blobs, self.manifests, self.uploads = {}, {}, {}
        self.url = f"http://127.0.0.1:{self.server_address[1]}"
        threading.Thread(target=self.serve_forever, daemon=True).start()


class RegistryRequest(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def answer(self, status, headers=()):
        self.send_response(status)
        for name, value in dict(headers).items():
            self.send_header(name, value)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def handle_request(self):
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        if self.headers.get("Authorization") != Registry.PASSWORD:
            return self.answer(401)
        place = urllib.parse.urlsplit(self.path)
        _, version, repository, kind, name = place.path.split("/", 4)
        assert version == "v2", self.path
        here = f"/v2/{repository}/blobs/uploads/"
        digest = "sha256:" + hashlib.sha256(body).hexdigest()
        match self.command, kind:
            case "HEAD", "blobs":
                return self.answer(200 if name in self.server.blobs else 404)
            case "POST", "blobs":
                self.server.uploads["1"] = b""
                return self.answer(202, {"Location": f"{here}1?state=a"})
            case "PATCH", "blobs":
                self.server.uploads["1"] += body
                return self.answer(202, {"Location": f"{self.server.url}{here}1?state=b"})
            case "PUT", "blobs":
                whole = self.server.uploads.pop("1") + body
                said = urllib.parse.parse_qs(place.query)["digest"][0]
                is_right = said == "sha256:" + hashlib.sha256(whole).hexdigest()
                if is_right:
                    self.server.blobs[said] = whole
                return self.answer(201 if is_right else 400)
            case "PUT", "manifests":
                manifest = json.loads(body)
                parts = [manifest["config"], *manifest["layers"]]
                is_whole = all(
                    len(self.server.blobs.get(it["digest"], b"")) == it["size"] for it in parts
                )
                if is_whole and self.headers["Content-Type"] == manifest["mediaType"]:
                    self.server.manifests[f"{repository}:{name}"] = (digest, manifest)
                return self.answer(201 if is_whole else 400)
        return self.answer(404)

    do_HEAD = do_POST = do_PATCH = do_PUT = handle_request

    def log_message(self, *_):
        pass


class Aws:
    """moto with the missing parts. `url` is set when moto listens."""

    def __init__(self, binary, work):
        self.binary, self.work = binary, pathlib.Path(work)
        self.url = None
        self.jobs = {}
        self.invalid = []
        self.models = {}
        self.lock = threading.Lock()
        # The server behind every asynchronous endpoint, and how long an answer takes at least.
        self.served, self.delay = None, 0.2
        # Further environment variables of the containers of jobs.
        self.worker_environment = {}
        self.registry = Registry()
        # Received calls of asynchronous endpoints.
        self.async_headers = set()
        self.install()

    def client(self, service):
        return boto3.client(service, endpoint_url=self.url)

    @property
    def s3(self):
        return self.client("s3")

    @property
    def sagemaker(self):
        return self.client("sagemaker")

    def model(self, uri):
        """The folder of a model, unpacked once."""
        with self.lock:
            if uri not in self.models:
                folder = pathlib.Path(tempfile.mkdtemp(dir=self.work))
                bucket, key = split_uri(uri)
                archive = folder / "model.tar.gz"
                self.s3.download_file(bucket, key, str(archive))
                with tarfile.open(archive) as packed:
                    packed.extractall(folder / "model", filter="data")
                archive.unlink()
                self.models[uri] = folder / "model"
            return self.models[uri]

    def install(self):
        aws, original = self, SageMakerResponse.create_transform_job

        def create_transform_job(response):
            answer = original(response)
            asked = json.loads(response.body)
            job = TransformJob(aws, asked)
            job.record = response.sagemaker_backend.transform_jobs[asked["TransformJobName"]]
            job.record.transform_job_status = "InProgress"
            aws.jobs[asked["TransformJobName"]] = job
            job.start()
            return answer

        def stop_transform_job(response):
            job = aws.jobs[response._get_param("TransformJobName")]
            job.stopped.set()
            job.record.transform_job_status = "Stopping"
            return ActionResult({})

        def update_endpoint(response):
            """Gives the endpoint its new configuration at once."""
            backend = response.sagemaker_backend
            endpoint = backend.endpoints[response._get_param("EndpointName")]
            config = backend.describe_endpoint_config(response._get_param("EndpointConfigName"))
            endpoint.endpoint_config_name = config["EndpointConfigName"]
            endpoint.production_variants = endpoint._process_production_variants(
                config["ProductionVariants"]
            )
            return ActionResult({"EndpointArn": endpoint.arn})

        def invoke_endpoint_async(response):
            name = response.path.split("/")[2]
            sent = {
                key for key in response.headers.keys() if key.lower().startswith("x-amzn-sagemaker")
            }
            aws.async_headers |= {key.lower() for key in sent}
            endpoint = aws.sagemaker.describe_endpoint(EndpointName=name)
            config = aws.sagemaker.describe_endpoint_config(
                EndpointConfigName=endpoint["EndpointConfigName"]
            )
            output = config["AsyncInferenceConfig"]["OutputConfig"]
            id = response.headers["X-Amzn-SageMaker-Inference-Id"]
            places = [
                f"{output['S3OutputPath']}/{id}.out",
                f"{output['S3FailurePath']}/{id}-error.out",
            ]
            source = response.headers["X-Amzn-SageMaker-InputLocation"]
            types = {
                "Content-Type": response.headers["X-Amzn-SageMaker-Content-Type"],
                "Accept": response.headers["X-Amzn-SageMaker-Accept"],
            }
            threading.Thread(
                target=aws.answer_later, args=(source, types, places), daemon=True
            ).start()
            headers = {
                "X-Amzn-SageMaker-OutputLocation": places[0],
                "X-Amzn-SageMaker-FailureLocation": places[1],
            }
            return 202, headers, json.dumps({"InferenceId": id})

        def get_authorization_token(response):
            token = Registry.PASSWORD.removeprefix("Basic ")
            data = {"authorizationToken": token, "proxyEndpoint": aws.registry.url}
            return ActionResult({"authorizationData": [data]})

        def statistic(statistics, name):
            """Percentiles too; of the few values here, the 99th is the largest."""
            name = "Maximum" if name.startswith("p") else name
            statistics.stats = [name]
            return known(statistics, name)

        known, Statistics.get_statistics_for_type = Statistics.get_statistics_for_type, statistic

        def call_action(response):
            aws.validate(response)
            return unchecked(response)

        unchecked, BaseResponse.call_action = BaseResponse.call_action, call_action
        SageMakerResponse.create_transform_job = create_transform_job
        SageMakerResponse.stop_transform_job = stop_transform_job
        SageMakerResponse.update_endpoint = update_endpoint
        ECRResponse.get_authorization_token = get_authorization_token
        SageMakerRuntimeResponse.invoke_endpoint_async = invoke_endpoint_async

    def answer_later(self, source, types, places):
        time.sleep(self.delay)
        bucket, key = split_uri(source)
        body = self.s3.get_object(Bucket=bucket, Key=key)["Body"].read()
        status, answer = ask(self.served, "POST", "/invocations", body, types)
        bucket, key = split_uri(places[0] if status == 200 else places[1])
        self.s3.put_object(Bucket=bucket, Key=key, Body=answer)

    def validate(self, response):
        """Records requests that botocore would not let a client send."""
        target = response.headers.get("X-Amz-Target")
        if not target:
            return
        operation = target.split(".")[1]
        session = botocore.session.get_session()
        model = session.get_service_model(response.service_name).operation_model(operation)
        found = ParamValidator().validate(json.loads(response.body), model.input_shape)
        if found.has_errors():
            self.invalid.append(f"{operation}: {found.generate_report()}")
