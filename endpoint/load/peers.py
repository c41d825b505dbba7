"""Throughput and latency beside servers written by hand, on the same model, one after the other in one run.

    pip install fastapi uvicorn transformers torch ctranslate2
    python endpoint/load/peers.py target/release/epitome CHECKPOINT_FOLDER fixtures/articles [--seconds 20]

Every client asks again as soon as it is answered, for the articles in turn. Writes one JSON object; servers that
cannot start on this machine are named there.
"""

import argparse
import asyncio
import json
import os
import pathlib
import subprocess
import sys
import time

from http_client import Client, percentile, resident, wait_ready

PARAMETERS = {"num_beams": 4}
CLIENTS = (1, 4, 16)
HERE = pathlib.Path(__file__).parent


def arguments():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("epitome")
    parser.add_argument("checkpoint")
    parser.add_argument("articles", type=pathlib.Path)
    parser.add_argument("--seconds", type=float, default=20)
    parser.add_argument("--port", type=int, default=18490)
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    return parser.parse_args()


async def client(number, port, texts, end, times):
    connection = Client(port)
    turn = number
    while time.perf_counter() < end:
        status, body, seconds = await connection.summarize(texts[turn % len(texts)], PARAMETERS)
        assert status == 200, (status, body)
        times.append(seconds)
        turn += 1
    connection.close()


async def measure(options, server, texts):
    result = {"seconds_to_ready": round(await wait_ready(options.port), 2)}
    connection, summaries = Client(options.port), []
    for text in texts:
        status, body, _ = await connection.summarize(text, PARAMETERS)
        assert status == 200, (status, body)
        summaries.append(json.loads(body)[0]["generated_text"])
    connection.close()
    for clients in CLIENTS:
        times, start = [], time.perf_counter()
        end = start + options.seconds
        await asyncio.gather(*(client(number, options.port, texts, end, times) for number in range(clients)))
        result[f"clients_{clients}"] = {
            "per_second": round(len(times) / (time.perf_counter() - start), 2),
            "p50_ms": round(percentile(times, 0.5) * 1e3, 1),
            "p99_ms": round(percentile(times, 0.99) * 1e3, 1),
        }
    result["resident_mb"] = round(resident(server.pid), 1)
    return result, summaries


def main():
    options = arguments()
    texts = [path.read_text() for path in sorted(options.articles.glob("*.txt"))]
    by_hand = [sys.executable, str(HERE / "stock_server.py")]
    rest = [options.checkpoint, str(options.port), str(options.threads)]
    epitome = [options.epitome, "serve", "--model", options.checkpoint, "--port", str(options.port)]
    servers = {
        "epitome": [*epitome, "--threads", str(options.threads)],
        "transformers behind FastAPI": [*by_hand, "transformers", *rest],
        "CTranslate2 behind FastAPI": [*by_hand, "ctranslate2", *rest],
    }
    results = {"parameters": PARAMETERS, "threads": options.threads, "articles": len(texts)}
    reference = None
    for name, command in servers.items():
        server = subprocess.Popen(command, stderr=subprocess.DEVNULL)
        try:
            results[name], summaries = asyncio.run(measure(options, server, texts))
            reference = reference or summaries
            results[name]["same_as_first"] = sum(map(str.__eq__, summaries, reference))
        except (TimeoutError, AssertionError) as error:
            results[name] = f"did not run: {error}"
        finally:
            server.terminate()
            try:
                server.wait(10)
            except subprocess.TimeoutExpired:
                server.kill()
    print(json.dumps(results, indent=1))


main()
