"""What `Summarizer.generate` of Python takes beside the same work in Rust.

    python bench/python_overhead.py MODEL [ROUNDS]   # after cargo build --release --workspace --bins

`epitome-bench worker` generates in Rust. Both get the same ids, one thread on one processor, 4 beams
and 32 tokens, in turn; the figure is the median of the rounds' ratios.
"""

import csv
import json
import os
import statistics
import subprocess
import sys
import time
from pathlib import Path

from epitome_onnx import Summarizer

ROOT = Path(__file__).resolve().parents[1]
BEAMS, TOKENS, DOCUMENTS = 4, 32, 24


class Rust:
    """`epitome-bench worker`"""

    def __init__(self, model):
        command = [ROOT / "target" / "release" / "epitome-bench", "worker"]
        command += ["--model", model, "--threads", "1"]
        self.process = subprocess.Popen(
            list(map(str, command)), stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        self.answer()
        self.ask(op="load")

    def ask(self, **request):
        print(json.dumps(request), file=self.process.stdin, flush=True)
        return self.answer()

    def answer(self):
        return json.loads(self.process.stdout.readline())

    def seconds(self, ids):
        return self.ask(op="generate", ids=[ids], beams=BEAMS, tokens=TOKENS)["seconds"]


class Python:
    """`Summarizer.generate`"""

    def __init__(self, model):
        self.summarizer = Summarizer(model, threads=1)

    def seconds(self, ids):
        begun = time.perf_counter()
        self.summarizer.generate(
            [ids],
            num_beams=BEAMS,
            min_new_tokens=TOKENS,
            max_new_tokens=TOKENS,
            length_penalty=1.0,
            early_stopping=False,
        )
        return time.perf_counter() - begun


def main(model, rounds="15"):
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:1])
    rust, python = Rust(model), Python(model)
    with (ROOT / "fixtures" / "summaries" / "validation-1000.csv").open(newline="") as file:
        texts = [row["text"] for row in csv.DictReader(file)][:DOCUMENTS]
    sources = [python.summarizer.tokenize(text) for text in texts]
    ratios = []
    for _ in range(int(rounds)):
        times = {engine: 0.0 for engine in (rust, python)}
        for ids in sources:
            for engine in times:
                times[engine] += engine.seconds(ids)
        ratios.append(times[python] / times[rust])
    print(f"Python takes {statistics.median(ratios):.4f} of Rust's time")
    print(f"each round: {' '.join(f'{ratio:.4f}' for ratio in ratios)}")


if __name__ == "__main__":
    main(*sys.argv[1:])
