"""What `Summarizer.generate` of Python takes beside the same work in Rust.

    python bench/python_overhead.py MODEL [PAIRS]   # after cargo build --release --workspace --bins

`epitome-bench worker` generates in Rust. Both get the same ids, one thread on one processor, 4
beams and 32 tokens, in turn. The figures are times of the processor; of each document the fastest
of five rounds counts: what else the machine does makes a round slower and none faster. Processes
differ by a few percent, by where their memory lies: each pair is new, and the median of the pairs
counts.
"""

import csv
import json
import os
import subprocess
import sys
import time
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from statistics import median

import numpy as np
from epitome_onnx import Summarizer
from epitome_onnx._program import installed_library

ROOT = Path(__file__).resolve().parents[1]
BEAMS, TOKENS, DOCUMENTS, ROUNDS = 4, 32, 24, 5


class Rust:
    """`epitome-bench worker`"""

    def __init__(self, model):
        command = [ROOT / "target" / "release" / "epitome-bench", "worker"]
        command += ["--model", model, "--threads", "1"]
        # Both load the same ONNX Runtime.
        library = {"ORT_DYLIB_PATH": str(installed_library() or "")}
        self.process = subprocess.Popen(
            list(map(str, command)),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env={**os.environ, **library},
            text=True,
        )
        self.answer()
        self.ask(op="load")

    def ask(self, **request):
        print(json.dumps(request), file=self.process.stdin, flush=True)
        return self.answer()

    def answer(self):
        return json.loads(self.process.stdout.readline())

    def seconds(self, ids):
        begun = processor_seconds(self.process.pid)
        self.ask(op="generate", ids=ids.tolist(), beams=BEAMS, tokens=TOKENS)
        return processor_seconds(self.process.pid) - begun

    def close(self):
        self.process.stdin.close()
        self.process.wait()


class Python:
    """`Summarizer.generate`"""

    def __init__(self, model):
        self.summarizer = Summarizer(model, threads=1)

    def seconds(self, ids):
        begun = processor_seconds(os.getpid())
        self.summarizer.generate(
            ids,
            num_beams=BEAMS,
            min_new_tokens=TOKENS,
            max_new_tokens=TOKENS,
            length_penalty=1.0,
            early_stopping=False,
        )
        return processor_seconds(os.getpid()) - begun


def processor_seconds(process):
    """Processor time of all threads of a process."""
    # The computation of clock_getcpuclockid(3), which Python lacks.
    return time.clock_gettime(~process << 3 | 2)


def pair(model, _):
    """Seconds for a document in Rust and in Python."""
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:1])
    rust, python = Rust(model), Python(model)
    with (ROOT / "fixtures" / "summaries" / "validation-1000.csv").open(newline="") as file:
        texts = [row["text"] for row in csv.DictReader(file)][:DOCUMENTS]
    sources = [np.array([python.summarizer.tokenize(text)]) for text in texts]
    least = {rust: [float("inf")] * DOCUMENTS, python: [float("inf")] * DOCUMENTS}
    for _ in range(ROUNDS):
        for index, ids in enumerate(sources):
            for engine, times in least.items():
                times[index] = min(times[index], engine.seconds(ids))
    rust.close()
    return [sum(times) / DOCUMENTS for times in least.values()]


def main(model, pairs="16"):
    ratios = []
    with get_context("spawn").Pool(1, maxtasksperchild=1) as pool:
        for rust, python in pool.imap(partial(pair, model), range(int(pairs))):
            ratios.append(python / rust)
            print(f"Rust {1e3 * rust:.3f} ms, Python {1e3 * python:.3f} ms a document")
    print(
        f"Python takes {median(ratios):.4f} of Rust's time: the median of {len(ratios)} pairs, "
        f"{min(ratios):.4f} to {max(ratios):.4f}"
    )


if __name__ == "__main__":
    main(*sys.argv[1:])
