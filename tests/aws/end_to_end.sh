#!/usr/bin/env bash
# From data to a deployed endpoint and back, against moto: prepare, train, export, deploy, invoke, undeploy.
#
#   tests/aws/end_to_end.sh [BINARY]        # target/debug/epitome, unless another is named
#
# Needs a Python with venv. Everything listens on this machine alone, and is gone when the script ends.
set -euo pipefail
cd "$(dirname "$0")/../.."
epitome=$(realpath "${1:-target/debug/epitome}")
work=$(mktemp -d)
trap 'kill $(jobs -p) 2>/dev/null || true; wait; rm -rf "$work"' EXIT

step() { printf '== %s\n' "$*"; }
fail() { printf 'end_to_end: %s\n' "$*" >&2; exit 1; }
# A port that nothing listens on.
port() { "$python" -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])'; }
# Until the URL answers.
await() {
    for _ in $(seq 600); do
        curl --silent --fail --output /dev/null "$1" && return
        sleep 0.1
    done
    fail "$1 does not answer"
}

venv=target/moto
[ -x $venv/bin/moto_server ] || { python3 -m venv $venv && $venv/bin/pip install --quiet --requirement tests/aws/requirements.txt; }
python=$venv/bin/python

moto_port=$(port)
$venv/bin/moto_server -H 127.0.0.1 -p "$moto_port" > "$work/moto.log" 2>&1 &
await "http://127.0.0.1:$moto_port/moto-api/"

export AWS_ENDPOINT_URL=http://127.0.0.1:$moto_port AWS_REGION=eu-west-1 AWS_DEFAULT_REGION=eu-west-1
export AWS_ACCESS_KEY_ID=test AWS_SECRET_ACCESS_KEY=test AWS_EC2_METADATA_DISABLED=true
unset AWS_PROFILE AWS_SESSION_TOKEN
role=arn:aws:iam::123456789012:role/service-role/training

boto() { "$python" -c "import boto3; s3 = boto3.client('s3'); sagemaker = boto3.client('sagemaker'); $1"; }
boto "s3.create_bucket(Bucket='summaries', CreateBucketConfiguration={'LocationConstraint': 'eu-west-1'})"

step prepare
"$python" - "$work/pairs.jsonl" <<'PY'
import json, pathlib, sys
texts = [path.read_text() for path in sorted(pathlib.Path("fixtures/articles").iterdir())]
with open(sys.argv[1], "w") as file:
    for text in texts * 10 + [""]:
        file.write(json.dumps({"document": text, "headline": text.split(".")[0]}) + "\n")
PY
"$epitome" prepare "$work/pairs.jsonl" --text-column document --summary-column headline --output "$work/data" \
    --tokenizer fixtures/tiny/pegasus-relu --upload s3://summaries/data
boto "[s3.head_object(Bucket='summaries', Key=f'data/{n}/{n}.csv') for n in ('train', 'validation')]"

step train
mkdir "$work/source"
echo 'print("training")' > "$work/source/run_summarization.py"
# What a job would leave.
boto "s3.upload_file('fixtures/pegasus-debian.tar.gz', 'summaries', 'models/e2e/output/model.tar.gz')"
artifact=$("$epitome" train --config tests/aws/job.toml --job-name e2e --source-dir "$work/source" --interval 0.1)
[ "$artifact" = s3://summaries/models/e2e/output/model.tar.gz ] || fail "the artifact is '$artifact'"
boto "s3.download_file('summaries', 'models/e2e/source/sourcedir.tar.gz', '$work/sourcedir.tar.gz')"
[ "$(tar -tzf "$work/sourcedir.tar.gz")" = run_summarization.py ] || fail "the scripts are not packed flat"

step export
"$epitome" export --training-job e2e --output "$work/bundle"

step deploy
deploy=("$epitome" deploy --endpoint e2e --model "$work/bundle" --upload s3://summaries/bundles --interval 0.1
    --image 123456789012.dkr.ecr.eu-west-1.amazonaws.com/epitome:latest --role "$role")
"${deploy[@]}"
"${deploy[@]}" 2>&1 | grep -q 'has these settings already' || fail "the second deployment changed something"
url=$(boto "print(sagemaker.describe_model(ModelName=sagemaker.list_models()['Models'][0]['ModelName'])['PrimaryContainer']['ModelDataUrl'])")
"$epitome" autoscale --endpoint e2e --max 3

step invoke
# What the container would find in /opt/ml/model.
mkdir "$work/model"
boto "s3.download_file('summaries', '${url#s3://summaries/}', '$work/model.tar.gz')"
tar -xzf "$work/model.tar.gz" -C "$work/model"
serve_port=$(port)
"$epitome" serve --model "$work/model" --port "$serve_port" 2> "$work/serve.log" &
await "http://127.0.0.1:$serve_port/ping"
article=fixtures/articles/enigma.txt
invoke=("$epitome" invoke --endpoint e2e --endpoint-url "http://127.0.0.1:$serve_port" "$article")
summary=$("${invoke[@]}" --num-beams 4)
[ "$summary" = "$("$epitome" summarize --model "$work/bundle" --num-beams 4 "$article")" ] || fail "invoke answers '$summary'"
"${invoke[@]}" --length-penalty 0.6,1.5
"${invoke[@]}" --num-beams 1 --stream

step undeploy
"$epitome" undeploy --endpoint e2e --yes --interval 0.1
boto "assert not sagemaker.list_models()['Models'] and not sagemaker.list_endpoints()['Endpoints']"
boto "assert not sagemaker.list_endpoint_configs()['EndpointConfigs']"
printf '1 passed, 0 failed\n'
