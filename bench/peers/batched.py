"""Many documents at once: a list, and a load over HTTP, against CTranslate2's best settings.

    python batched.py                                    # about ten minutes
    python batched.py --before EPITOME --only documents  # beside another build of epitome
    python batched.py --only load --seconds 60

The model has the shape of a well-known one and random weights (models.py), in int8. Every summary
has exactly --tokens tokens, with --beams beams. Everything runs with both cores of a machine of two
(`--threads`), one engine after another, round after round.

documents: --documents texts of --source tokens each, in one request to `epitome serve`, and in one
call of CTranslate2's Translator, without a server. Its settings (translators times threads, and how
many documents or tokens make a batch) are tried first, and the best is compared.

load: requests of 50 and of 1,000 tokens in turn, at random times, at 0.5, 1 and 2 times the rate
that the first epitome answers with 16 clients. CTranslate2 is behind a small server that gives it
all that waits, in batches of its best size (translator_server.py). Throughput is that of answers;
latencies are from the request to its answer, and to the first byte of a streamed one (greedy
search; every fourth request).
"""

import argparse
import asyncio
import itertools
import json
import random
import statistics
import subprocess
import sys
import time
from pathlib import Path

import models

HERE = Path(__file__).resolve().parent
REPOSITORY = HERE.parents[1]
sys.path.append(str(REPOSITORY / "endpoint/load"))

from http_client import Client, head, percentile, processor_seconds, wait_ready  # noqa: E402

CLIENTS = 16
LENGTHS = (50, 1000)
LOADS = (0.5, 1, 2)


def arguments():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--epitome", type=Path, default=REPOSITORY / "target/release/epitome")
    parser.add_argument("--before", type=Path, help="another build of epitome")
    parser.add_argument("--model", choices=models.SHAPES, default="distilbart-cnn-12-6")
    parser.add_argument("--work", type=Path, default=REPOSITORY / "target/peers")
    parser.add_argument("--only", choices=["documents", "load"])
    parser.add_argument("--without-ctranslate2", action="store_true")
    parser.add_argument("--documents", type=int, default=24)
    parser.add_argument("--source", type=int, default=512)
    parser.add_argument("--beams", type=int, default=4)
    parser.add_argument("--tokens", type=int, default=48)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--seconds", type=float, default=20, help="of each load")
    parser.add_argument("--port", type=int, default=18500)
    parser.add_argument("--serve", nargs=argparse.REMAINDER, default=[], help="flags of serve")
    return parser.parse_args()


def texts(options, count, length):
    """A text of words of the model's tokenizer, without special tokens."""
    draw, vocab = random.Random(length), models.SHAPES[options.model].vocab
    word = lambda: models.word(draw.randrange(4, vocab))
    return [" ".join(word() for _ in range(length - 1)) for _ in range(count)]


def parameters(options, beams):
    exactly = {"min_new_tokens": options.tokens, "max_new_tokens": options.tokens}
    return {"num_beams": beams, "length_penalty": 1.0, **exactly}


class Server:
    """The process of a server. It ends with its `with` block."""

    def __init__(self, name, command, port):
        self.name, self.port = name, port
        self.command = [str(part) for part in command]

    def __enter__(self):
        self.process = subprocess.Popen(self.command, stderr=subprocess.DEVNULL)
        asyncio.run(wait_ready(self.port, patience=180))
        return self

    def __exit__(self, *_):
        self.process.terminate()
        try:
            self.process.wait(20)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()


def epitome_servers(options):
    """`epitome serve` of each build, on its own export of the model."""
    builds = [("epitome", options.epitome), ("epitome before", options.before)]
    for number, (name, binary) in enumerate(builds):
        if binary is None:
            continue
        # Each build reads its own bundles.
        folder = options.work if number == 0 else options.work / "before"
        if number and not (folder / options.model / "hf").exists():
            (folder / options.model).mkdir(parents=True, exist_ok=True)
            source = models.checkpoint(options.model, options.work).resolve()
            (folder / options.model / "hf").symlink_to(source)
        bundle = models.epitome(options.model, folder, "int8", binary)
        port = options.port + number
        command = [binary, "serve", "--model", bundle, "--port", port, "--deadline", 590]
        yield Server(name, [*command, "--threads", options.threads, *options.serve], port)


async def request_all(port, options, documents):
    """Seconds for all documents in one request."""
    client = Client(port)
    body = {"inputs": documents, "parameters": parameters(options, options.beams)}
    body = json.dumps(body).encode()
    status, answer, seconds = await client.request("POST", "/invocations", body)
    client.close()
    assert status == 200, (status, answer)
    return seconds


class Translator:
    """CTranslate2 in this process, with one setting."""

    def __init__(self, options, setting):
        import ctranslate2

        self.options = options
        self.workers, self.batch, self.kind = setting
        self.translator = ctranslate2.Translator(
            str(models.ctranslate2(options.model, options.work, "int8")),
            device="cpu",
            compute_type="int8",
            inter_threads=self.workers,
            intra_threads=options.threads // self.workers,
        )

    def seconds(self, documents):
        start = time.perf_counter()
        self.translator.translate_batch(
            [document.split() for document in documents],
            max_batch_size=self.batch,
            batch_type=self.kind,
            beam_size=self.options.beams,
            min_decoding_length=self.options.tokens,
            max_decoding_length=self.options.tokens,
            length_penalty=1.0,
        )
        return time.perf_counter() - start


def settings(options):
    workers = [count for count in (1, 2) if options.threads % count == 0]
    batches = [(1, "examples"), (4, "examples"), (8, "examples"), (4096, "tokens")]
    return [(count, *batch) for count, batch in itertools.product(workers, batches)]


def best_setting(options, documents):
    """The fastest setting. With fewer documents some settings would not fill their batches."""
    rates = {}
    for setting in settings(options):
        translator = Translator(options, setting)
        translator.seconds(documents[:1])
        rates[setting] = len(documents) / translator.seconds(documents)
        print(f"CTranslate2, {describe(setting)}: {rates[setting]:.2f} a second", file=sys.stderr)
    return max(rates, key=rates.get)


def describe(setting):
    workers, batch, kind = setting
    return f"{workers} translator(s), batches of {batch} {kind}"


def compare_documents(options):
    documents = texts(options, options.documents, options.source)
    rates, processor = {}, {}
    setting = None if options.without_ctranslate2 else best_setting(options, documents)
    servers = list(epitome_servers(options))
    for _ in range(options.rounds):
        for server in servers:
            with server:
                asyncio.run(request_all(server.port, options, documents[:2]))
                before = processor_seconds(server.process.pid)
                seconds = asyncio.run(request_all(server.port, options, documents))
                spent = processor_seconds(server.process.pid) - before
            rates.setdefault(server.name, []).append(len(documents) / seconds)
            processor.setdefault(server.name, []).append(spent / len(documents))
        if setting:
            translator = Translator(options, setting)
            translator.seconds(documents[:1])
            name, before = f"CTranslate2 ({describe(setting)})", time.process_time()
            rates.setdefault(name, []).append(len(documents) / translator.seconds(documents))
            spent = time.process_time() - before
            processor.setdefault(name, []).append(spent / len(documents))
            del translator
        print({name: round(found[-1], 2) for name, found in rates.items()}, file=sys.stderr)
    print(f"\n{options.documents} documents of {options.source} tokens, {options.beams} beams:\n")
    print("| | documents a second | the first is | processor seconds a document |")
    print("| --- | --- | --- | --- |")
    first = statistics.median(rates["epitome"])
    for name, found in rates.items():
        rate, spent = statistics.median(found), statistics.median(processor[name])
        print(f"| {name} | {rate:.2f} | {first / rate:.2f}x | {spent:.3f} |")
    return setting


async def ask(port, options, number, texts, waits):
    """One request; its status, seconds, and seconds to the first byte where it is streamed."""
    streamed = waits is not None and number % 4 == 3
    text = texts[number % len(LENGTHS)][number // len(LENGTHS) % 8]
    beams = 1 if streamed else options.beams
    body = {"inputs": text, "parameters": parameters(options, beams), "stream": streamed}
    body = json.dumps(body).encode()
    if not streamed:
        client = Client(port)
        status, _, seconds = await client.request("POST", "/invocations", body)
        client.close()
        return status, seconds
    start = time.perf_counter()
    try:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(head("POST", "/invocations", body) + body)
        status = int((await reader.readuntil(b"\r\n\r\n")).split(b" ")[1])
        if status == 200:
            await reader.readuntil(b"data")
            waits.append(time.perf_counter() - start)
            while not (await reader.readline()).startswith(b"0"):
                pass
        writer.close()
    except (OSError, asyncio.IncompleteReadError) as error:
        status = type(error).__name__
    return status, time.perf_counter() - start


async def capacity(port, options, texts):
    """Answers per second with as many clients as fill a batch."""
    end, answered = time.perf_counter() + options.seconds, 0

    async def client(number):
        nonlocal answered
        for turn in itertools.count(number, CLIENTS):
            if time.perf_counter() >= end:
                return
            status, _ = await ask(port, options, turn, texts, None)
            assert status == 200, status
            answered += 1

    start = time.perf_counter()
    await asyncio.gather(*(client(number) for number in range(CLIENTS)))
    return answered / (time.perf_counter() - start)


async def load(port, options, texts, rate, streams):
    """Measurements of requests at random times."""
    draw, waits, start = random.Random(1), [] if streams else None, time.perf_counter()
    asked, at = [], 0.0
    for number in itertools.count():
        at += draw.expovariate(rate)
        if at > options.seconds:
            break
        await asyncio.sleep(max(0.0, start + at - time.perf_counter()))
        asked.append(asyncio.create_task(ask(port, options, number, texts, waits)))
    answers = await asyncio.gather(*asked)
    seconds = time.perf_counter() - start
    times = [took for status, took in answers if status == 200]
    p = lambda values, share: f"{percentile(values, share):.2f}" if values else "-"
    refused = len(answers) - len(times)
    figures = [f"{rate:.2f}", f"{len(times) / seconds:.2f}", refused, p(times, 0.5), p(times, 0.99)]
    return [*figures, p(waits, 0.5), p(waits, 0.99)]


def compare_load(options, setting):
    documents = [texts(options, 8, length) for length in LENGTHS]
    servers = list(epitome_servers(options))
    if setting:
        workers, batch, kind = setting
        port = options.port + len(servers)
        folder = models.ctranslate2(options.model, options.work, "int8")
        command = [sys.executable, HERE / "translator_server.py", folder, port, workers]
        command += [options.threads // workers, batch if kind == "examples" else 8]
        servers.append(Server("CTranslate2", command, port))
    print("\n| | load | asked a second | answered | refused | p50 | p99 | first p50 | first p99 |")
    print("| --- | --- | --- | --- | --- | --- | --- | --- | --- |")
    rate = None
    for server in servers:
        with server:
            if rate is None:
                rate = asyncio.run(capacity(server.port, options, documents))
                print(f"capacity: {rate:.2f} a second with {CLIENTS} clients", file=sys.stderr)
            for share in LOADS:
                streams = server.name != "CTranslate2"
                figures = load(server.port, options, documents, share * rate, streams)
                row = [server.name, share, *asyncio.run(figures)]
                print(f"| {' | '.join(map(str, row))} |", flush=True)


def main():
    options = arguments()
    setting = None
    if options.only != "load":
        setting = compare_documents(options)
    elif not options.without_ctranslate2:
        setting = (options.threads, 4, "examples")
    if options.only != "documents":
        compare_load(options, setting)


if __name__ == "__main__":
    main()
