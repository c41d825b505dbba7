"""Hostile bodies against the image in a container of 2 GB. Each is answered or refused, none kills.

    python endpoint/load/container.py MODEL_FOLDER [IMAGE]

Sends what `hostile.py` holds to a container on loopback, each kind three times at once and then all
kinds together, and asks for a summary after each. Writes one JSON object, with the most memory that
the server had so far, and fails where an answer changed or the server was not the same process.
"""

import asyncio
import json
import pathlib
import subprocess
import sys
import time

import hostile
from http_client import Client, wait_ready

PORT = 18470
NAME = "epitome-hostile"
AT_ONCE = 3
SECONDS = 60
ASKED = json.dumps({"inputs": "The river rose after a week of rain.", "parameters": {}}).encode()


def podman(*arguments):
    return subprocess.run(
        ["podman", "--runtime", "runc", *arguments], check=True, capture_output=True, text=True
    ).stdout.strip()


def start(model, image):
    settings = ["--read-only", "--cpus", "1", "--memory", "2g", "--network", "host"]
    settings += ["--ulimit", "nofile=20000:20000", "--ulimit", "nproc=4096:4096"]
    settings += ["--env", f"SAGEMAKER_BIND_TO_PORT={PORT}", "--volume", f"{model}:/opt/ml/model:ro"]
    podman("run", "--detach", "--name", NAME, *settings, image, "serve")


def processes():
    return [int(pid) for pid in podman("top", NAME, "hpid").split("\n")[1:]]


def most_memory(pids):
    """Resident megabytes of the largest process."""
    kilobytes = [0]
    for pid in pids:
        for line in pathlib.Path(f"/proc/{pid}/status").read_text().splitlines():
            if line.startswith("VmHWM"):
                kilobytes.append(int(line.split()[1]))
    return round(max(kilobytes) / 1024, 1)


async def summary():
    client = Client(PORT)
    status, answer, _ = await client.request("POST", "/invocations", ASKED)
    client.close()
    return status, answer.decode()


async def attack(kinds):
    calls = [asyncio.wait_for(kind(PORT), SECONDS) for kind in kinds]
    done = await asyncio.gather(*calls, return_exceptions=True)
    return [error for error in done if error and not isinstance(error, (OSError, TimeoutError))]


async def everything():
    await wait_ready(PORT)
    pids, expected = processes(), await summary()
    rounds = [[kind] * AT_ONCE for kind in hostile.KINDS] + [hostile.KINDS * AT_ONCE]
    results, problems = {}, [] if expected[0] == 200 else [f"no summary: {expected}"]
    for kinds in rounds:
        name = kinds[0].__name__ if len(set(kinds)) == 1 else "all together"
        begin = time.perf_counter()
        problems += [f"{name}: {error!r}" for error in await attack(kinds)]
        found = await summary()
        while found[0] in (429, 503, 504) and time.perf_counter() - begin < 2 * SECONDS:
            await asyncio.sleep(1)
            found = await summary()
        if found != expected or processes() != pids:
            problems.append(f"{name}: {found}, processes {processes()} for {pids}")
        results[name] = {
            "seconds": round(time.perf_counter() - begin, 1),
            "most_mb": most_memory(pids),
        }
    return {"rounds": results, "problems": problems}


def main():
    model, image = pathlib.Path(sys.argv[1]).resolve(), [*sys.argv[2:], "epitome"][0]
    subprocess.run(["podman", "rm", "--force", NAME], capture_output=True)
    try:
        start(model, image)
        results = asyncio.run(everything())
    finally:
        subprocess.run(["podman", "rm", "--force", NAME], capture_output=True)
    print(json.dumps(results, indent=1))
    sys.exit(bool(results["problems"]))


if __name__ == "__main__":
    main()
