"""Throughput and latency compared with hand-written servers, with the same model, in one run.

    pip install fastapi uvicorn transformers torch ctranslate2
    python endpoint/load/peers.py target/release/epitome CHECKPOINT_FOLDER fixtures/articles

All servers are started; then each is measured for a few seconds in turn, several rounds long, so
that whatever else the machine does weighs on all of them. Every client asks again as soon as it is
answered, for the articles in turn. `cpu_ms` is processor time a request, which does not depend on
what else runs. Writes one JSON object; servers that cannot start on this machine are named there.
"""

import argparse
import asyncio
import json
import os
import pathlib
import subprocess
import sys
import time

from http_client import Client, percentile, processor_seconds, resident, wait_ready

PARAMETERS = {"num_beams": 4}
CLIENTS = (1, 4, 16)
HERE = pathlib.Path(__file__).parent


def arguments():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("epitome")
    parser.add_argument("checkpoint")
    parser.add_argument("articles", type=pathlib.Path)
    parser.add_argument("--seconds", type=float, default=5, help="of each measurement")
    parser.add_argument("--rounds", type=int, default=4)
    parser.add_argument("--port", type=int, default=18490)
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    return parser.parse_args()


class Server:
    """A server process and its measurements."""

    def __init__(self, command, port):
        self.port = port
        self.process = subprocess.Popen(command, stderr=subprocess.DEVNULL)
        self.started = time.perf_counter()
        self.figures = {}
        self.slices = {clients: {"times": [], "seconds": 0.0, "cpu": 0.0} for clients in CLIENTS}

    async def prepare(self, texts):
        """Waits until the server is ready. Returns its summaries."""
        await wait_ready(self.port, patience=180)
        self.figures["seconds_to_ready"] = round(time.perf_counter() - self.started, 2)
        connection, summaries = Client(self.port), []
        for text in texts:
            status, body, _ = await connection.summarize(text, PARAMETERS)
            assert status == 200, (status, body)
            summaries.append(json.loads(body)[0]["generated_text"])
        connection.close()
        return summaries

    async def measure(self, clients, seconds, texts):
        part = self.slices[clients]
        cpu, start = processor_seconds(self.process.pid), time.perf_counter()
        end = start + seconds
        asks = [
            ask_until(end, number, self.port, texts, part["times"]) for number in range(clients)
        ]
        await asyncio.gather(*asks)
        part["seconds"] += time.perf_counter() - start
        part["cpu"] += processor_seconds(self.process.pid) - cpu

    def report(self):
        for clients, part in self.slices.items():
            times = part["times"]
            self.figures[f"clients_{clients}"] = {
                "requests": len(times),
                "per_second": round(len(times) / part["seconds"], 2),
                "p50_ms": round(percentile(times, 0.5) * 1e3, 1),
                "p99_ms": round(percentile(times, 0.99) * 1e3, 1),
                "cpu_ms": round(part["cpu"] / len(times) * 1e3, 1),
            }
        self.figures["resident_mb"] = round(resident(self.process.pid), 1)
        return self.figures

    def stop(self):
        self.process.terminate()
        try:
            self.process.wait(10)
        except subprocess.TimeoutExpired:
            self.process.kill()


async def ask_until(end, turn, port, texts, times):
    connection = Client(port)
    while time.perf_counter() < end:
        status, body, seconds = await connection.summarize(texts[turn % len(texts)], PARAMETERS)
        assert status == 200, (status, body)
        times.append(seconds)
        turn += 1
    connection.close()


async def run(options, servers):
    texts = [path.read_text() for path in sorted(options.articles.glob("*.txt"))]
    results = {"parameters": PARAMETERS, "threads": options.threads, "articles": len(texts)}
    reference = None
    for name, server in list(servers.items()):
        try:
            summaries = await server.prepare(texts)
        except (TimeoutError, AssertionError) as error:
            results[name] = f"did not run: {error}"
            servers.pop(name).stop()
            continue
        reference = reference or summaries
        server.figures["same_summaries_as_first"] = sum(map(str.__eq__, summaries, reference))
    for _ in range(options.rounds):
        for clients in CLIENTS:
            for server in servers.values():
                await server.measure(clients, options.seconds, texts)
    return results | {name: server.report() for name, server in servers.items()}


def main():
    options = arguments()
    by_hand = [sys.executable, str(HERE / "stock_server.py")]
    port, threads = options.port, str(options.threads)
    epitome = [
        options.epitome,
        "serve",
        "--model",
        options.checkpoint,
        "--port",
        str(port),
        "--threads",
        threads,
    ]
    servers = {}
    try:
        servers["epitome"] = Server(epitome, port)
        for number, engine in enumerate(("transformers", "ctranslate2"), start=1):
            command = [*by_hand, engine, options.checkpoint, str(port + number), threads]
            servers[f"{engine} behind FastAPI"] = Server(command, port + number)
        print(json.dumps(asyncio.run(run(options, servers)), indent=1))
    finally:
        for server in servers.values():
            server.stop()


main()
