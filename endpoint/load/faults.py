"""Faults of memory, disk and files. The server reports them, stays, and works again afterwards.

    python endpoint/load/faults.py target/release/epitome BUNDLE CHECKPOINT

Each fault is injected into a server of its own, on loopback. What this machine cannot do (tmpfs and
cgroups take root) is named and skipped. Writes a line for each fault, and fails where one was not
survived.
"""

import argparse
import asyncio
import contextlib
import os
import pathlib
import resource
import shutil
import subprocess
import sys
import tempfile
import time

import hostile
from http_client import Client, wait_ready

PORT = 18490
GIGABYTE = 1 << 30
PATIENCE = 60
BODY = b'{"inputs": "The river rose after a week of rain and the town opened its gates."}'


class Skip(Exception):
    """This machine cannot run the test."""


@contextlib.contextmanager
def serving(options, model, flags=(), **popen):
    command = [options.epitome, "serve", "--model", str(model), "--port", str(PORT), *flags]
    server = subprocess.Popen(command, stderr=subprocess.DEVNULL, **popen)
    try:
        yield server
        assert server.poll() is None, "the server ended"
        server.terminate()
        assert server.wait(30) == 0, "SIGTERM did not end it well"
    finally:
        server.kill()
        server.wait()


async def ask(path="/invocations", body=BODY, method="POST"):
    client = Client(PORT)
    status, answer, _ = await client.request(method, path, body)
    client.close()
    return status, answer


async def until(path, expected, part=b""):
    """Waits for an answer with this status and this text."""
    start = time.perf_counter()
    while time.perf_counter() - start < PATIENCE:
        status, answer = await ask(path, b"", "GET")
        if status == expected and part in answer:
            return
        await asyncio.sleep(0.05)
    raise AssertionError(f"{path} did not answer {expected} with {part!r}")


async def survives_hostile_bodies():
    """Checks that every body is answered, refused, or ends a process that is started again."""
    bodies = [
        hostile.one_word,
        hostile.many_words,
        hostile.unused_field,
        hostile.bad_words,
        hostile.commas,
    ]
    await asyncio.gather(*(kind(PORT) for kind in bodies))
    await wait_ready(PORT, PATIENCE)
    status, answer = await ask()
    assert status == 200, answer


async def little_address_space(options):
    def limit():
        resource.setrlimit(resource.RLIMIT_AS, (2 * GIGABYTE, 2 * GIGABYTE))

    with serving(options, options.bundle, ["--supervise"], preexec_fn=limit):
        await wait_ready(PORT, PATIENCE)
        await survives_hostile_bodies()


@contextlib.contextmanager
def memory_cgroup(limit):
    """A cgroup with a memory limit: its folder, and a function that counts killed processes."""
    root = pathlib.Path("/sys/fs/cgroup")
    if (root / "cgroup.controllers").exists():
        group, limit_file, events = root / "epitome-faults", "memory.max", "memory.events"
    else:
        group, limit_file, events = (
            root / "memory" / "epitome-faults",
            "memory.limit_in_bytes",
            "memory.oom_control",
        )

    def kills():
        return dict(line.split() for line in (group / events).read_text().splitlines())["oom_kill"]

    try:
        group.mkdir()
        (group / limit_file).write_text(str(limit))
        kills()
    except OSError as error:
        raise Skip(f"no cgroup can be made: {error}") from error
    try:
        yield group, kills
    finally:
        with contextlib.suppress(OSError):
            group.rmdir()


async def cgroup_of_a_gigabyte(options):
    with memory_cgroup(GIGABYTE) as (group, kills):

        def enter():
            (group / "cgroup.procs").write_text(str(os.getpid()))

        with serving(options, options.bundle, ["--supervise"], preexec_fn=enter):
            await wait_ready(PORT, PATIENCE)
            await survives_hostile_bodies()
        assert kills() == "0", "the system killed a process"


async def full_temporary_folder(options):
    with tempfile.TemporaryDirectory() as folder:
        mount = ["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", folder]
        if subprocess.run(mount, stderr=subprocess.DEVNULL, check=False).returncode:
            raise Skip("no tmpfs can be mounted")
        try:
            environment = {**os.environ, "TMPDIR": folder}
            with serving(options, options.checkpoint, env=environment):
                await until("/ping", 503, b"no room is left")
                status, _ = await ask()
                assert status == 503
            assert not list(pathlib.Path(folder).iterdir()), "something was left in it"
        finally:
            subprocess.run(["umount", folder], check=True)


async def cut_file(options):
    with tempfile.TemporaryDirectory() as folder:
        bundle = pathlib.Path(folder) / "bundle"
        shutil.copytree(options.bundle, bundle)
        weights = bundle / "weights.bin"
        whole = weights.read_bytes()
        with serving(options, bundle, ["--supervise"]):
            await wait_ready(PORT, PATIENCE)
            os.truncate(weights, 100)
            # The first of them may end the process; those after it wait for the next one.
            for _ in range(20):
                await ask()
            weights.write_bytes(whole)
            await wait_ready(PORT, PATIENCE)
            status, answer = await ask()
            assert status == 200, answer


async def removed_model(options):
    with tempfile.TemporaryDirectory() as folder:
        bundle = pathlib.Path(folder) / "bundle"
        with serving(options, bundle):
            await until("/ping", 503, b"bundle")
            shutil.copytree(options.bundle, pathlib.Path(folder) / "part")
            os.rename(pathlib.Path(folder) / "part", bundle)
            await wait_ready(PORT, PATIENCE)
            status, answer = await ask()
            assert status == 200, answer


FAULTS = [
    little_address_space,
    cgroup_of_a_gigabyte,
    full_temporary_folder,
    cut_file,
    removed_model,
]


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("epitome")
    parser.add_argument("bundle", type=pathlib.Path)
    parser.add_argument("checkpoint", type=pathlib.Path)
    options = parser.parse_args()
    failed = False
    for fault in FAULTS:
        name = fault.__name__.replace("_", " ")
        try:
            asyncio.run(asyncio.wait_for(fault(options), 4 * PATIENCE))
            print(f"{name}: survived")
        except Skip as skip:
            print(f"{name}: skipped, {skip}")
        except (
            AssertionError,
            TimeoutError,
            asyncio.TimeoutError,
            subprocess.TimeoutExpired,
        ) as error:
            failed = True
            print(f"{name}: FAILED, {error}")
    sys.exit(failed)


main()
