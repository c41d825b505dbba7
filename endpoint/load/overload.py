"""Twice the load that the server can take: nothing lost, nothing wrong, health always told, memory flat.

    python endpoint/load/overload.py target/release/epitome MODEL fixtures/articles [--seconds 120] [--serve FLAGS ...]

Starts the server itself, on loopback; measures its capacity with as many clients as fill a batch; then 64 clients
together ask twice as often for the given time. Writes one JSON object.
"""

import argparse
import asyncio
import json
import pathlib
import random
import signal
import subprocess
import time

from http_client import Client, percentile, processor_seconds, resident, wait_ready

PARAMETERS = {"num_beams": 4}
CAPACITY_CLIENTS = 16
CLIENTS = 64
QUEUE = 32
PING_EVERY = 0.1


def arguments():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("epitome")
    parser.add_argument("model")
    parser.add_argument("articles", type=pathlib.Path)
    parser.add_argument("--seconds", type=float, default=120)
    parser.add_argument("--port", type=int, default=18480)
    parser.add_argument("--serve", nargs=argparse.REMAINDER, default=[], help="further flags of epitome serve")
    return parser.parse_args()


async def ask_until(end, port, texts, expected, results, pause):
    """Asks again and again; `pause` gives the seconds between two requests' starts."""
    client = Client(port)
    draw = random.Random(id(client))
    due = time.perf_counter() + draw.random() * pause
    while (now := time.perf_counter()) < end:
        if due > now:
            await asyncio.sleep(min(due - now, end - now))
            continue
        due = max(due + pause, now)
        name = draw.choice(list(texts))
        status, body, seconds = await client.summarize(texts[name], PARAMETERS)
        wrong = status == 200 and body != expected[name]
        results.append(("wrong" if wrong else status, seconds))
    client.close()


async def ping_until(end, port, seconds):
    client = Client(port)
    while time.perf_counter() < end:
        status, _, took = await client.request("GET", "/ping")
        seconds.append(took if status == 200 else float("inf"))
        await asyncio.sleep(PING_EVERY)
    client.close()


async def watch_memory(end, pid, megabytes):
    while time.perf_counter() < end:
        megabytes.append(resident(pid))
        await asyncio.sleep(1)


async def phase(server, port, texts, expected, clients, seconds, pause):
    results, pings, memory = [], [], []
    start, cpu = time.perf_counter(), processor_seconds(server.pid)
    end = start + seconds
    asks = [ask_until(end, port, texts, expected, results, pause) for _ in range(clients)]
    await asyncio.gather(*asks, ping_until(end, port, pings), watch_memory(end, server.pid, memory))
    took, cpu = time.perf_counter() - start, processor_seconds(server.pid) - cpu
    by_status = {}
    for status, time_taken in results:
        by_status.setdefault(str(status), []).append(time_taken)
    told = {
        status: {
            "count": len(times),
            "p50_ms": round(percentile(times, 0.5) * 1e3, 1),
            "p99_ms": round(percentile(times, 0.99) * 1e3, 1),
            "max_ms": round(max(times) * 1e3, 1),
        }
        for status, times in sorted(by_status.items())
    }
    return {
        "clients": clients,
        "seconds": round(took, 1),
        "asked_per_second": round(len(results) / took, 2),
        "answered_per_second": round(len(by_status.get("200", [])) / took, 2),
        "cpu_ms_per_answer": round(cpu / max(1, len(by_status.get("200", []))) * 1e3, 1),
        "by_status": told,
        "ping_p99_ms": round(percentile(pings, 0.99) * 1e3, 1),
        "ping_max_ms": round(max(pings) * 1e3, 1),
        "resident_mb": {"first": round(memory[0], 1), "last": round(memory[-1], 1), "most": round(max(memory), 1)},
    }


async def run(options, server):
    await wait_ready(options.port)
    texts = {path.name: path.read_text() for path in sorted(options.articles.glob("*.txt"))}
    client, expected = Client(options.port), {}
    for name, text in texts.items():
        status, expected[name], _ = await client.summarize(text, PARAMETERS)
        assert status == 200, expected[name]
    client.close()
    capacity = await phase(server, options.port, texts, expected, CAPACITY_CLIENTS, min(30, options.seconds), 0)
    pause = CLIENTS / (2 * capacity["answered_per_second"])
    overload = await phase(server, options.port, texts, expected, CLIENTS, options.seconds, pause)
    return {"parameters": PARAMETERS, "queue": QUEUE, "serve": options.serve, "capacity": capacity, "overload": overload}


def main():
    options = arguments()
    command = [options.epitome, "serve", "--model", options.model, "--port", str(options.port), "--queue", str(QUEUE)]
    command += options.serve
    server = subprocess.Popen(command, stderr=subprocess.DEVNULL)
    try:
        results = asyncio.run(run(options, server))
        start = time.perf_counter()
        server.send_signal(signal.SIGTERM)
        results["exit_status"] = server.wait(30)
        results["exit_seconds"] = round(time.perf_counter() - start, 2)
    finally:
        server.kill()
    print(json.dumps(results, indent=1))


main()
