"""10,000 documents through a batch transform job on two local workers, one of which is killed half
way; and the same without the kill, against `epitome summarize`.

    python3 -m venv VENV && VENV/bin/pip install -r tests/aws/requirements.txt
    VENV/bin/python tests/aws/many_documents.py target/release/epitome [DOCUMENTS [WORKER]]

WORKER is the program of the workers and of `summarize`, if it is another one.

Every document has its own text. The summary of each is compared with what `summarize` makes of it,
in its place: a lost, a doubled or an exchanged one is a failure. Times are of the work alone,
without the start of servers.
"""

import csv
import json
import logging
import os
import pathlib
import signal
import subprocess
import sys
import tempfile
import threading
import time

from account import REGION
from moto.server import ThreadedMotoServer

from imitation import Aws

ROOT = pathlib.Path(__file__).resolve().parents[2]
BUCKET = "summaries"
FILES = 40
PARAMETERS = {"num_beams": 2, "max_new_tokens": 24}
LIMIT = 3000


def documents(count):
    """Distinct texts: rows of the repository's data, truncated and numbered."""
    with open(ROOT / "fixtures/summaries/validation-1000.csv", newline="") as file:
        rows = [row["text"].split() for row in csv.DictReader(file)]
    return [" ".join([f"Number {at}:", *rows[at % len(rows)][:60]]) for at in range(count)]


def epitome(aws, *arguments):
    arguments = [str(argument) for argument in arguments]
    binary = aws.binary if arguments[0] == "summarize" else aws.commands
    start = time.monotonic()
    done = subprocess.run(
        [binary, *arguments],
        env={**os.environ, "AWS_ENDPOINT_URL": aws.url},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
    )
    if done.returncode:
        sys.exit(
            f"epitome {' '.join(arguments[:3])} ended with {done.returncode}: {done.stderr[-2000:]}"
        )
    return done.stdout, time.monotonic() - start


def summaries_of(line):
    """The text of an answer, as an object or a list of one."""
    answer = json.loads(line)
    return (answer[0] if isinstance(answer, list) else answer)["generated_text"]


def transform(aws, bundle, expected, prefix, kill):
    """Runs the job. Returns its seconds of work and its number of worker restarts."""
    job = f"{prefix}-job"
    killed = []

    def kill_half_way():
        while (
            len(
                done := aws.s3.list_objects_v2(Bucket=BUCKET, Prefix=f"{prefix}/").get(
                    "Contents", []
                )
            )
            < FILES // 2
        ):
            time.sleep(0.05)
        time.sleep(0.1)
        victim = aws.jobs[job].instances[0].process
        os.kill(victim.pid, signal.SIGKILL)
        killed.append((victim.pid, len(done)))

    if kill:
        threading.Thread(target=kill_half_way, daemon=True).start()
    epitome(
        aws,
        *(
            "transform",
            "--model",
            f"s3://{BUCKET}/bundles/model.tar.gz",
            "--job-name",
            job,
            "--instance-count",
            "2",
        ),
        *(
            "--image",
            "123456789012.dkr.ecr.eu-west-1.amazonaws.com/epitome:1",
            "--role",
            "arn:aws:iam::123456789012:role/a",
        ),
        *(
            "--input",
            f"s3://{BUCKET}/documents",
            "--output",
            f"s3://{BUCKET}/{prefix}",
            "--interval",
            "0.5",
        ),
    )
    assert bool(killed) == kill, "the worker was not killed half way"
    wrong = []
    for name, texts in expected.items():
        body = aws.s3.get_object(Bucket=BUCKET, Key=f"{prefix}/{name}.out")["Body"].read().decode()
        got = [summaries_of(line) for line in body.splitlines()]
        if got != texts:
            wrong.append(f"{name}: {len(got)} lines for {len(texts)} documents, or others")
    assert not wrong, wrong[:5]
    found = aws.s3.list_objects_v2(Bucket=BUCKET, Prefix=f"{prefix}/")["Contents"]
    assert len(found) == FILES, "more objects than outputs"
    return aws.jobs[job].seconds, aws.jobs[job].restarts


def run(aws, count):
    bundle = aws.work / "bundle"
    epitome(aws, "export", ROOT / "fixtures/pegasus-debian.tar.gz", "--output", bundle)
    aws.s3.create_bucket(Bucket=BUCKET, CreateBucketConfiguration={"LocationConstraint": REGION})
    epitome(
        aws,
        "export",
        ROOT / "fixtures/pegasus-debian.tar.gz",
        "--output",
        f"s3://{BUCKET}/bundles/",
    )
    texts = documents(count)
    lines = aws.work / "documents.jsonl"
    lines.write_text("".join(json.dumps({"text": text}) + "\n" for text in texts))
    one = aws.work / "one.jsonl"
    one.write_text(json.dumps({"text": texts[0]}) + "\n")
    flags = [f"--{name.replace('_', '-')}={value}" for name, value in PARAMETERS.items()]
    ask = [
        "summarize",
        "--model",
        bundle,
        "--long",
        "first",
        "--format",
        "json",
        "--text-column",
        "text",
        *flags,
    ]
    _, start = epitome(aws, *ask, one)
    printed, seconds = epitome(aws, *ask, lines)
    seconds -= start
    summaries = [json.loads(line)["generated_text"] for line in printed.splitlines()]
    assert len(summaries) == count
    print(
        f"summarize: {count} documents in {seconds:.1f} s, {count / seconds:.0f} a second",
        flush=True,
    )
    expected = {}
    for at in range(FILES):
        name = f"{at:03}.jsonl"
        expected[name] = summaries[at::FILES]
        body = "".join(
            json.dumps({"inputs": text, "parameters": PARAMETERS}) + "\n"
            for text in texts[at::FILES]
        )
        aws.s3.put_object(Bucket=BUCKET, Key=f"documents/{name}", Body=body)
    quiet, restarts = transform(aws, bundle, expected, "quiet", False)
    assert restarts == 0
    ratio = seconds / quiet
    print(
        f"transform: {quiet:.1f} s, {count / quiet:.0f} a second: {100 * ratio:.0f}% of summarize",
        flush=True,
    )
    killed, restarts = transform(aws, bundle, expected, "killed", True)
    assert restarts >= 1
    print(
        f"transform with a worker killed half way: {killed:.1f} s; nothing lost, nothing twice",
        flush=True,
    )
    assert not aws.invalid, aws.invalid


def main():
    signal.alarm(LIMIT)
    binary = str(pathlib.Path(sys.argv[1]).resolve())
    count = int(sys.argv[2]) if len(sys.argv) > 2 else 10_000
    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    with tempfile.TemporaryDirectory() as work:
        aws = Aws(str(pathlib.Path(sys.argv[3]).resolve()) if len(sys.argv) > 3 else binary, work)
        aws.commands = binary
        # Two workers share this machine, unlike two instances.
        aws.worker_environment = {"EPITOME_THREADS": str(max(1, (os.cpu_count() or 2) // 2))}
        server.start()
        try:
            aws.url = "http://{}:{}".format(*server.get_host_and_port())
            run(aws, count)
        finally:
            server.stop()


main()
