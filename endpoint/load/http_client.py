"""A client that costs little beside the server: asyncio and kept connections, standard library only."""

import asyncio
import json
import os
import pathlib
import time


class Client:
    """One connection, opened again where the server closed it."""

    def __init__(self, port):
        self.port = port
        self.reader = self.writer = None

    async def request(self, method, path, body=b""):
        """Status, body and seconds."""
        start = time.perf_counter()
        try:
            if self.writer is None:
                self.reader, self.writer = await asyncio.open_connection("127.0.0.1", self.port)
            head = (
                f"{method} {path} HTTP/1.1\r\nHost: localhost\r\n"
                f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
            )
            self.writer.write(head.encode() + body)
            head = (await self.reader.readuntil(b"\r\n\r\n")).decode().lower()
            lines = head.split("\r\n")
            headers = dict(line.split(": ", 1) for line in lines[1:] if ": " in line)
            answer = await self.reader.readexactly(int(headers["content-length"]))
            if headers.get("connection") == "close":
                self.close()
            return int(lines[0].split(" ")[1]), answer, time.perf_counter() - start
        except (OSError, asyncio.IncompleteReadError) as error:
            self.close()
            return type(error).__name__, b"", time.perf_counter() - start

    async def summarize(self, text, parameters):
        body = json.dumps({"inputs": text, "parameters": parameters}).encode()
        return await self.request("POST", "/invocations", body)

    def close(self):
        if self.writer is not None:
            self.writer.close()
        self.reader = self.writer = None


async def wait_ready(port, patience=120):
    """Seconds until /ping answers 200."""
    start = time.perf_counter()
    while time.perf_counter() - start < patience:
        client = Client(port)
        status, _, _ = await client.request("GET", "/ping")
        client.close()
        if status == 200:
            return time.perf_counter() - start
        await asyncio.sleep(0.01)
    raise TimeoutError(f"port {port} was not ready within {patience} s")


def percentile(values, share):
    values = sorted(values)
    return values[min(len(values) - 1, int(share * len(values)))] if values else None


def resident(pid):
    """Resident memory in MB."""
    with open(f"/proc/{pid}/status") as status:
        line = next(line for line in status if line.startswith("VmRSS:"))
    return int(line.split()[1]) / 1024


def processor_seconds(pid):
    """Processor time of a process so far."""
    fields = pathlib.Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
