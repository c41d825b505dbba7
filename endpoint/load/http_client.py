"""A client with little overhead: asyncio, persistent connections, no library."""

import asyncio
import json
import os
import pathlib
import time


class Client:
    """One connection, which is opened again if the server has closed it."""

    def __init__(self, port):
        self.port = port
        self.reader = self.writer = None

    async def request(self, method, path, body=b"", headers=()):
        """Status, body and seconds. Without an answer, the status is the name of the error."""
        start = time.perf_counter()
        try:
            if self.writer is None:
                self.reader, self.writer = await asyncio.open_connection("127.0.0.1", self.port)
            self.writer.write(head(method, path, body, headers) + body)
            status, answer, closes = await read_answer(self.reader)
            if closes:
                self.close()
            return status, answer, time.perf_counter() - start
        except (
            OSError,
            ValueError,
            asyncio.IncompleteReadError,
            asyncio.LimitOverrunError,
        ) as error:
            self.close()
            return type(error).__name__, b"", time.perf_counter() - start

    async def summarize(self, text, parameters):
        body = json.dumps({"inputs": text, "parameters": parameters}).encode()
        return await self.request("POST", "/invocations", body)

    def close(self):
        if self.writer is not None:
            self.writer.close()
        self.reader = self.writer = None


def head(method, path, body=b"", headers=()):
    """The head of a request, with JSON as the default content type."""
    fields = {"Host": "localhost", "Content-Type": "application/json", "Content-Length": len(body)}
    fields.update(headers)
    lines = [f"{method} {path} HTTP/1.1"] + [f"{name}: {value}" for name, value in fields.items()]
    return ("\r\n".join(lines) + "\r\n\r\n").encode()


async def read_answer(reader):
    """Status, body, and whether the server closes the connection."""
    status = 100
    while status == 100:
        lines = (await reader.readuntil(b"\r\n\r\n")).decode().lower().split("\r\n")
        status = int(lines[0].split(" ")[1])
    headers = dict(line.split(": ", 1) for line in lines[1:] if ": " in line)
    if headers.get("transfer-encoding") == "chunked":
        body = b""
        while size := int(await reader.readuntil(b"\r\n"), 16):
            body += (await reader.readexactly(size + 2))[:-2]
        await reader.readexactly(2)
    else:
        body = await reader.readexactly(int(headers.get("content-length", 0)))
    return status, body, headers.get("connection") == "close"


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
