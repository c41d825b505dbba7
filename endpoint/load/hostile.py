"""Hostile clients, one function each. All are bounded in size and time."""

import asyncio
import functools
import gzip

from http_client import Client, head

MEGABYTES = 1 << 20
SIZE = 24 * MEGABYTES
LINES = {"Content-Type": "application/jsonlines"}
CSV = {"Content-Type": "text/csv"}


@functools.cache
def filled(start, piece, end):
    """A body of SIZE bytes."""
    return start + piece * ((SIZE - len(start) - len(end)) // len(piece)) + end


async def post(port, body, headers=()):
    client = Client(port)
    await client.request("POST", "/invocations", body, headers)
    client.close()


@functools.cache
def seeds():
    lines = (f'{{"inputs":"a b","parameters":{{"seed":{seed}}}}}\n' for seed in range(40_000))
    return "".join(lines).encode()


@functools.cache
def bomb_of_spaces():
    return gzip.compress(b" " * SIZE * 4)


async def parameters_in_every_line(port):
    await post(port, seeds(), LINES)


async def thousands_of_lines(port):
    await post(port, b'{"inputs":"The river rose after a week of rain."}\n' * 5000, LINES)


async def one_word(port):
    await post(port, filled(b'{"inputs":"', b"a", b'"}'))


async def many_words(port):
    await post(port, filled(b'{"inputs":"', b"river rain ", b'"}'))


async def unused_field(port):
    await post(port, filled(b'{"inputs":"a b","x":[[]', b",[]", b"]}"))


async def bad_words(port):
    await post(port, filled(b'{"inputs":"a b","parameters":{"bad_words_ids":[[1]', b",[1]", b"]}}"))


async def commas(port):
    await post(port, filled(b"inputs\na", b",", b"\n"), CSV)


async def bomb(port):
    await post(port, bomb_of_spaces(), {"Content-Encoding": "gzip"})


async def other_page(port):
    await post(port, b'{"inputs":"a b"}', {"Origin": "https://evil.example"})


async def connect(port, request):
    _, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(request)
    return writer


async def half_heads(port):
    writers = [
        await connect(port, b"POST /invocations HTTP/1.1\r\nHost: local") for _ in range(100)
    ]
    await asyncio.sleep(3)
    for writer in writers:
        writer.close()


async def slow_bodies(port):
    request = head("POST", "/invocations", b"x" * 1000) + b"{"
    writers = [await connect(port, request) for _ in range(50)]
    for _ in range(3):
        await asyncio.sleep(1)
        for writer in writers:
            writer.write(b" ")
    for writer in writers:
        writer.close()


async def slow_readers(port):
    request = head("GET", "/page/page.css") * 200
    writers = [await connect(port, request) for _ in range(20)]
    await asyncio.sleep(3)
    for writer in writers:
        writer.close()


async def garbage(port):
    writers = [await connect(port, b"\x16\x03\x01\x00\xff\0\0 garbage\r\n\r\n") for _ in range(20)]
    for writer in writers:
        writer.close()


KINDS = [
    parameters_in_every_line,
    thousands_of_lines,
    one_word,
    many_words,
    unused_field,
    bad_words,
    commas,
    bomb,
    other_page,
    half_heads,
    slow_bodies,
    slow_readers,
    garbage,
]
