"""What `Summarizer.generate` of Python takes beside the same work in Rust.

    python bench/python_overhead.py MODEL [ROUNDS]   # after cargo build --release --workspace --bins

`epitome-bench worker` generates in Rust. Both get the same ids, one thread on one processor, 4 beams
and 32 tokens, in turn. Of each document the fastest round counts: what else the machine does makes
a round slower and none faster.
"""

import csv
import json
import os
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
    least = {rust: [float("inf")] * DOCUMENTS, python: [float("inf")] * DOCUMENTS}
    for _ in range(int(rounds)):
        for index, ids in enumerate(sources):
            for engine, times in least.items():
                times[index] = min(times[index], engine.seconds(ids))
    for engine, times in least.items():
        print(f"{type(engine).__name__}: {1e3 * sum(times) / DOCUMENTS:.3f} ms a document")
    print(f"Python takes {sum(least[python]) / sum(least[rust]):.4f} of Rust's time")


if __name__ == "__main__":
    main(*sys.argv[1:])
