"""Twice the load that the server can take, a tenth of it hostile: nothing lost, nothing wrong,
health always told.

    python endpoint/load/overload.py target/release/epitome MODEL fixtures/articles \
        [--seconds 120] [--serve FLAGS ...]

Starts the server itself, on loopback. Takes every answer alone first, then measures its capacity
with as many clients as fill a batch. Then 64 clients together ask twice as often, with different
parameters, lengths and ways to answer: first alone, which tells the memory of ordinary overload,
then for the given time beside clients that hang up, and a tenth that does what `hostile.py` holds.
Every answer is compared with the answer alone. Writes one JSON object, and fails where something
was lost or wrong, /ping or SIGTERM took too long, or memory grew by half.
"""

import argparse
import asyncio
import concurrent.futures
import json
import multiprocessing
import pathlib
import random
import signal
import subprocess
import sys
import time

import hostile
from http_client import Client, head, percentile, processor_seconds, resident, wait_ready

PARAMETERS = [
    {"num_beams": 4},
    {"num_beams": 4, "length_penalty": 0.6},
    {"num_beams": 1, "max_new_tokens": 20},
    {"num_beams": 2, "no_repeat_ngram_size": 3},
    {"do_sample": True, "seed": 7, "max_new_tokens": 20},
]
WORDS = [30, 200, 100_000]
ARTICLES = 6
CAPACITY_CLIENTS = 16
CLIENTS = 64
HOSTILE = 6
HANGING_UP = 4
QUEUE = 32
PING_EVERY = 0.1
GRACE = 25
# Statuses that a client of an overloaded server may get.
REFUSED = {429, 503, 504}


def arguments():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("epitome")
    parser.add_argument("model")
    parser.add_argument("articles", type=pathlib.Path)
    parser.add_argument("--seconds", type=float, default=120)
    parser.add_argument("--port", type=int, default=18480)
    parser.add_argument(
        "--serve", nargs=argparse.REMAINDER, default=[], help="further flags of epitome serve"
    )
    return parser.parse_args()


def cases(articles):
    """Bodies of requests, with their headers."""
    made = []
    for place, path in enumerate(sorted(articles.glob("*.txt"))[:ARTICLES]):
        words = path.read_text().split()
        for number, parameters in enumerate(PARAMETERS):
            text = " ".join(words[: WORDS[(place + number) % len(WORDS)]])
            greedy = parameters.get("num_beams") == 1
            body = {"inputs": text, "parameters": parameters, "stream": greedy and place % 2 == 0}
            headers = {"Accept": "text/plain"} if place % 3 == 0 else {}
            made.append((json.dumps(body).encode(), headers))
    return made


async def ask_until(end, port, asked, expected, results, pause):
    """Sends requests repeatedly; `pause` returns the seconds between the starts of two requests."""
    client = Client(port)
    draw = random.Random(id(client))
    due = time.perf_counter() + draw.random() * pause
    while (now := time.perf_counter()) < end:
        if due > now:
            await asyncio.sleep(min(due - now, end - now))
            continue
        due = max(due + pause, now)
        number = draw.randrange(len(asked))
        body, headers = asked[number]
        status, answer, seconds = await client.request("POST", "/invocations", body, headers)
        wrong = status == 200 and answer != expected[number]
        results.append(("wrong" if wrong else status, seconds))
    client.close()


async def hang_up_until(end, port, asked, counts):
    draw = random.Random(port)
    while time.perf_counter() < end:
        body, headers = draw.choice(asked)
        writer = await hostile.connect(port, head("POST", "/invocations", body, headers) + body)
        await asyncio.sleep(draw.random() * 0.2)
        writer.close()
        counts["hung up"] = counts.get("hung up", 0) + 1


async def attack_until(end, port, first, counts):
    number = first
    while time.perf_counter() < end:
        kind = hostile.KINDS[number % len(hostile.KINDS)]
        number += 1
        try:
            await asyncio.wait_for(kind(port), max(0.1, end - time.perf_counter()))
        except (OSError, asyncio.TimeoutError):
            pass
        counts[kind.__name__] = counts.get(kind.__name__, 0) + 1


def ping(port, seconds):
    """Seconds of each /ping. Runs in a separate process, because the load keeps this one busy."""

    async def ping_until(end):
        client, times = Client(port), []
        while time.perf_counter() < end:
            status, _, took = await client.request("GET", "/ping")
            times.append(took if status == 200 else float("inf"))
            await asyncio.sleep(PING_EVERY)
        client.close()
        return times

    return asyncio.run(ping_until(time.perf_counter() + seconds))


async def watch_memory(end, pid, megabytes):
    while time.perf_counter() < end:
        megabytes.append(resident(pid))
        await asyncio.sleep(0.25)


async def phase(server, port, asked, expected, clients, seconds, pause, attacked):
    results, memory, counts = [], [], {}
    start, cpu = time.perf_counter(), processor_seconds(server.pid)
    end = start + seconds
    tasks = [ask_until(end, port, asked, expected, results, pause) for _ in range(clients)]
    if attacked:
        tasks += [hang_up_until(end, port, asked, counts) for _ in range(HANGING_UP)]
        spread = len(hostile.KINDS) // HOSTILE
        tasks += [attack_until(end, port, number * spread, counts) for number in range(HOSTILE)]
    spawn = multiprocessing.get_context("spawn")
    with concurrent.futures.ProcessPoolExecutor(1, mp_context=spawn) as pool:
        pinging = asyncio.get_running_loop().run_in_executor(pool, ping, port, seconds)
        await asyncio.gather(*tasks, watch_memory(end, server.pid, memory))
        pings = await pinging
    took, cpu = time.perf_counter() - start, processor_seconds(server.pid) - cpu
    by_status = {}
    for status, time_taken in results:
        by_status.setdefault(status, []).append(time_taken)
    answered = len(by_status.get(200, []))
    told = {
        str(status): {
            "count": len(times),
            "p50_ms": round(percentile(times, 0.5) * 1e3, 1),
            "p99_ms": round(percentile(times, 0.99) * 1e3, 1),
            "max_ms": round(max(times) * 1e3, 1),
        }
        for status, times in by_status.items()
    }
    lost = sum(
        len(times) for status, times in by_status.items() if status not in REFUSED | {200, "wrong"}
    )
    return {
        "clients": clients,
        "seconds": round(took, 1),
        "asked_per_second": round(len(results) / took, 2),
        "answered_per_second": round(answered / took, 2),
        "cpu_ms_per_answer": round(cpu / max(1, answered) * 1e3, 1),
        "by_status": told,
        "wrong": len(by_status.get("wrong", [])),
        "lost": lost,
        "hostile": counts,
        "ping_p99_ms": round(percentile(pings, 0.99) * 1e3, 1),
        "ping_max_ms": round(max(pings) * 1e3, 1),
        "resident_mb": {
            "first": round(memory[0], 1),
            "last": round(memory[-1], 1),
            "most": round(max(memory), 1),
        },
    }


async def run(options, server):
    port = options.port
    await wait_ready(port)
    asked, client, expected = cases(options.articles), Client(port), []
    for body, headers in asked:
        status, answer, _ = await client.request("POST", "/invocations", body, headers)
        assert status == 200, answer
        expected.append(answer)
    client.close()
    quiet = min(30, options.seconds)
    capacity = await phase(server, port, asked, expected, CAPACITY_CLIENTS, quiet, 0, False)
    pause = CLIENTS / (2 * capacity["answered_per_second"])
    ordinary = await phase(server, port, asked, expected, CLIENTS, quiet, pause, False)
    overload = await phase(server, port, asked, expected, CLIENTS, options.seconds, pause, True)
    return {
        "queue": QUEUE,
        "serve": options.serve,
        "capacity": capacity,
        "ordinary": ordinary,
        "overload": overload,
    }


async def stop_under_load(options, server, results):
    """Sends SIGTERM while clients wait and heads are incomplete."""
    body = json.dumps({"inputs": "a b", "parameters": {"num_beams": 4}}).encode()
    request = head("POST", "/invocations", body)
    held = [await hostile.connect(options.port, request[:20]) for _ in range(10)]
    held += [await hostile.connect(options.port, request + body) for _ in range(10)]
    await asyncio.sleep(0.2)
    start = time.perf_counter()
    server.send_signal(signal.SIGTERM)
    results["exit_status"] = await asyncio.to_thread(server.wait, GRACE + 10)
    results["exit_seconds"] = round(time.perf_counter() - start, 2)
    for writer in held:
        writer.close()


def problems(results):
    overload = results["overload"]
    quiet = results["ordinary"]["resident_mb"]["most"]
    checks = {
        "answers were lost": overload["lost"] == 0,
        "answers were wrong": overload["wrong"] == 0,
        "/ping's p99 is above 100 ms": overload["ping_p99_ms"] < 100,
        "/ping took more than 500 ms": overload["ping_max_ms"] <= 500,
        "memory is above 1.5 times that without hostile clients": overload["resident_mb"]["most"]
        < 1.5 * quiet,
        "SIGTERM took longer than its grace": results["exit_seconds"] <= GRACE + 1,
        "the exit status is not 0": results["exit_status"] == 0,
    }
    return [problem for problem, holds in checks.items() if not holds]


async def everything(options, server):
    results = await run(options, server)
    await stop_under_load(options, server, results)
    return results


def main():
    options = arguments()
    command = [
        options.epitome,
        "serve",
        "--model",
        options.model,
        "--port",
        str(options.port),
        "--queue",
        str(QUEUE),
    ]
    command += options.serve
    server = subprocess.Popen(command, stderr=subprocess.DEVNULL)
    try:
        results = asyncio.run(everything(options, server))
    finally:
        server.kill()
    results["problems"] = problems(results)
    print(json.dumps(results, indent=1))
    sys.exit(bool(results["problems"]))


if __name__ == "__main__":
    main()
