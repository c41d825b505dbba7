"""Compares epitome with other engines: encoder, decoder step, whole summary, loading and memory.

    python compare.py         # everything: takes hours, can be interrupted and continued
    python compare.py --models distilbart-cnn-12-6 --precision int8 --beams 4 --source 512 \\
        --batch 1 --rounds 5
    python compare.py --models pegasus-large --precision fp32 --beams 4 --threads 1 --budget 180
    python compare.py --models led-base-16384 long-t5-tglobal-base --what speed memory \\
        --source 4096 8192 16384 --batch 1 --beams 1 --threads 2 --tokens 8

Models have the shapes of well-known ones and random weights (models.py). They are made under --work
on the first run and kept. Every engine is a process of its own, pinned to --threads cores. All get
the same token ids and must generate exactly --tokens tokens, so that no time depends on the text.
Engines take turns, round after round, so that a machine that slows down slows all of them.

Each turn generates 2 tokens and then --tokens tokens.

- A step is the difference of the two times, divided by the difference in tokens. The search is
  included.
- The encoder is the short time less two steps. It includes whatever an engine does once for a
  document, such as the keys and values of cross-attention.
- The summary is the long time.

The figures are medians of the rounds. Loading and memory (`--what load`) are measured in fresh
processes with the files in the page cache. Loading is the time from its start to the first token of
a document of 32 tokens. Python's imports are not counted, and in another column they are. Memory is
the peak resident memory after a summary of 512 tokens with 8 beams, mapped files included. With
`--what memory` it is that of each --source with the first of --beams, each in a fresh process.

Every measurement goes to results.jsonl in --output at once, and is not made again: a run that
--budget or Ctrl-C ended continues where it stopped, unless epitome was rebuilt in between. At the
end table.md, results.csv and step.svg are drawn.
"""

import argparse
import hashlib
import itertools
import json
import random
import subprocess
import sys
import time
from contextlib import ExitStack
from pathlib import Path

import report
from engines import Engine, EngineFailed
from models import SHAPES
from report import SHORT

LOAD_SOURCE, MEMORY_SOURCE, MEMORY_BEAMS, MEMORY_TOKENS = 32, 512, 8, 16


def arguments():
    repository = Path(__file__).resolve().parents[2]
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--models", nargs="+", choices=SHAPES, default=list(SHAPES))
    parser.add_argument(
        "--engines",
        nargs="+",
        default=["epitome", "ctranslate2", "transformers"],
        choices=["epitome", "ctranslate2", "transformers", "optimum"],
    )
    parser.add_argument(
        "--precision",
        nargs="+",
        choices=["fp32", "int8"],
        default=["fp32", "int8"],
        help="transformers and optimum run in fp32 only, and are measured beside either",
    )
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--batch", type=int, nargs="+", default=[1, 8])
    parser.add_argument("--source", type=int, nargs="+", default=[128, 512, 1024])
    parser.add_argument("--beams", type=int, nargs="+", default=[1, 4, 8])
    parser.add_argument("--tokens", type=int, default=48)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument(
        "--what", nargs="+", choices=["speed", "load", "memory"], default=["speed", "load"]
    )
    parser.add_argument(
        "--budget", type=float, default=float("inf"), help="seconds after which to stop measuring"
    )
    parser.add_argument(
        "--work", type=Path, default=repository / "target/peers", help="folder of the models"
    )
    parser.add_argument(
        "--output", type=Path, help="folder of the results [default: results, in --work]"
    )
    parser.add_argument(
        "--binaries",
        type=Path,
        default=repository / "target/release",
        help="folder of epitome and epitome-bench",
    )
    parser.add_argument(
        "--optimum-python", default=sys.executable, help="the Python that has optimum-onnx"
    )
    options = parser.parse_args()
    options.output = options.output or options.work / "results"
    if options.tokens <= SHORT:
        parser.error(f"--tokens must be above {SHORT}")
    return options


class Results:
    """Measurements of this build of epitome. Each is written as soon as it is made."""

    def __init__(self, options):
        options.output.mkdir(parents=True, exist_ok=True)
        self.path = options.output / "results.jsonl"
        binary = (options.binaries / "epitome-bench").read_bytes()
        self.build = hashlib.sha256(binary).hexdigest()[:12]
        lines = self.path.read_text().splitlines() if self.path.is_file() else []
        self.rows = [row for row in map(json.loads, lines) if row["build"] == self.build]

    def has(self, **fields):
        return any(fields.items() <= row.items() for row in self.rows)

    def add(self, **fields):
        row = dict(fields, build=self.build)
        self.rows.append(row)
        with self.path.open("a") as file:
            file.write(json.dumps(row) + "\n")


class Budget:
    def __init__(self, seconds):
        self.end = time.monotonic() + seconds

    def check(self):
        if time.monotonic() > self.end:
            raise BudgetSpent


class BudgetSpent(Exception):
    """The time budget is used up."""


def engines(model, options):
    for name, precision in itertools.product(options.engines, ["fp32", "int8"]):
        if name == "ctranslate2" and not SHAPES[model].known_to_ctranslate2:
            continue
        only_fp32 = name in ("transformers", "optimum")
        if precision == "fp32" if only_fp32 else precision in options.precision:
            yield Engine(name, precision)


def token_ids(shape, batch, length):
    """Source tokens, the same for every engine and run. The end token is the only special one."""
    generator = random.Random(length)
    return [
        [generator.randrange(4, shape.vocab) for _ in range(length - 1)] + [shape.eos]
        for _ in range(batch)
    ]


def measurement(what, model, threads, engine, **more):
    """The key of a measurement."""
    return dict(
        what=what,
        model=model,
        threads=threads,
        engine=engine.name,
        precision=engine.precision,
        **more,
    )


def measure_speed(model, threads, options, results, budget):
    """Every configuration of a model at so many threads; all engines stay loaded meanwhile."""

    def key(engine, batch, source, beams, number):
        shape = dict(batch=batch, source=source, beams=beams, tokens=options.tokens)
        return measurement("speed", model, threads, engine, **shape, round=number)

    configurations = list(itertools.product(options.batch, options.source, options.beams))
    contenders = list(engines(model, options))
    missing = [
        (configuration, number)
        for configuration in configurations
        for number in range(options.rounds)
        if not all(results.has(**key(engine, *configuration, number)) for engine in contenders)
    ]
    if not missing:
        return
    with ExitStack() as stack:
        workers = {
            engine: stack.enter_context(engine.start(model, threads, options))
            for engine in contenders
        }
        for worker in workers.values():
            worker.load()
        warm = None
        for (batch, source, beams), number in missing:
            ids = token_ids(SHAPES[model], batch, source)
            if warm != (batch, source, beams):
                # The first run of a shape allocates buffers that later runs reuse.
                for worker in workers.values():
                    worker.generate(ids, beams, SHORT)
                warm = (batch, source, beams)
            round_ = []
            for engine, worker in workers.items():
                budget.check()
                if threads > 1:
                    # Idle threads of the previous engine may spin for a while.
                    time.sleep(0.3)
                short, whole = (
                    worker.generate(ids, beams, tokens) for tokens in (SHORT, options.tokens)
                )
                round_.append((engine, worker, short, whole))
            for engine, worker, short, whole in round_:
                results.add(
                    **key(engine, batch, source, beams, number),
                    short=short,
                    whole=whole,
                    name=worker.engine,
                )
            print(
                f"{model}, {threads} thread(s), batch {batch}, source {source}, "
                f"{beams} beam(s), round {number + 1}: "
                + ", ".join(
                    f"{engine.name} {engine.precision} "
                    f"{(whole - short) / (options.tokens - SHORT) * 1e3:.1f} ms"
                    for engine, _, short, whole in round_
                ),
                file=sys.stderr,
            )


def measure_load(model, threads, options, results, budget):
    """Measures loading in fresh processes, in turn."""
    shape = SHAPES[model]
    for number in range(options.rounds):
        for engine in engines(model, options):
            key = measurement("load", model, threads, engine, round=number)
            if results.has(**key):
                continue
            budget.check()
            for path in engine.prepare(model, options).rglob("*"):
                if path.is_file():
                    subprocess.run(["cat", path], stdout=subprocess.DEVNULL, check=True)
            with engine.start(model, threads, options) as worker:
                imported = worker.age()
                load = worker.load()
                first = worker.generate(token_ids(shape, 1, LOAD_SOURCE), 1, 1)
                from_start = worker.age()
                worker.generate(token_ids(shape, 1, MEMORY_SOURCE), MEMORY_BEAMS, MEMORY_TOKENS)
                results.add(
                    **key,
                    name=worker.engine,
                    imports=imported,
                    load=load,
                    first_token=load + first,
                    from_start=from_start,
                    peak_resident=worker.peak_resident(),
                )
                print(
                    f"{model}, {threads} thread(s), {engine.name} {engine.precision}: "
                    f"first token after "
                    f"{load + first:.2f} s, {worker.peak_resident() / 1e6:.0f} MB resident at most",
                    file=sys.stderr,
                )


def measure_memory(model, threads, options, results, budget):
    """Measures memory in a fresh process for each source."""
    beams, tokens = options.beams[0], options.tokens
    for source, engine in itertools.product(options.source, engines(model, options)):
        shape = dict(source=source, beams=beams, tokens=tokens)
        key = measurement("memory", model, threads, engine, **shape)
        if results.has(**key):
            continue
        budget.check()
        with engine.start(model, threads, options) as worker:
            worker.load()
            worker.generate(token_ids(SHAPES[model], 1, source), beams, tokens)
            results.add(**key, name=worker.engine, peak_resident=worker.peak_resident())
            print(
                f"{model}, {threads} thread(s), source {source}, {engine.name} "
                f"{engine.precision}: {worker.peak_resident() / 1e6:.0f} MB resident at most",
                file=sys.stderr,
            )


def roofline(threads, options, results):
    if not results.has(what="roofline", threads=threads):
        command = [options.binaries / "epitome-bench", "roofline", "--threads", str(threads)]
        limits = json.loads(
            subprocess.run(command, check=True, capture_output=True, text=True).stdout
        )
        results.add(what="roofline", **limits)


def main():
    options = arguments()
    results, budget = Results(options), Budget(options.budget)
    for model in options.models:
        for engine in engines(model, options):
            engine.prepare(model, options)
    status = 0
    try:
        for threads in options.threads:
            roofline(threads, options, results)
        for model, threads in itertools.product(options.models, options.threads):
            if "speed" in options.what:
                measure_speed(model, threads, options, results, budget)
            if "memory" in options.what:
                measure_memory(model, threads, options, results, budget)
            if "load" in options.what:
                measure_load(model, threads, options, results, budget)
    except (BudgetSpent, KeyboardInterrupt) as error:
        print(
            f"stopped ({type(error).__name__}): the same command goes on from here", file=sys.stderr
        )
        status = 3
    except EngineFailed as error:
        print(error, file=sys.stderr)
        status = 1
    report.write(results.rows, options)
    sys.exit(status)


if __name__ == "__main__":
    main()
