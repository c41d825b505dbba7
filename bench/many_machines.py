"""Documents a second of the examples for many machines, with one and two workers of one thread.

    python bench/many_machines.py MODEL [DOCUMENTS]   # see python/check-engines

The documents are those of fixtures/summaries/validation-1000.csv. A job counts whole: workers that
start, open the model, and hand back the summaries. The engine itself runs already.
"""

import csv
import sys
import tempfile
import time
from contextlib import contextmanager
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "python" / "tests"))


@contextmanager
def no_engine(documents, model, workers):
    """The package without an engine: one process, as many threads as the engines get workers."""
    from epitome_onnx import Summarizer

    texts = [document["text"] for document in documents]
    yield lambda: Summarizer(model, threads=workers)(texts)


def rate(engine, documents, *arguments):
    with engine(documents, *arguments) as job:
        begun = time.perf_counter()
        assert len(job()) == len(documents)
        return f"{len(documents) / (time.perf_counter() - begun):.1f}"


def main(model, count="1000"):
    import engines

    with (ROOT / "fixtures" / "summaries" / "validation-1000.csv").open(newline="") as file:
        texts = [row["text"] for row in csv.DictReader(file)]
    documents = [{"id": index, "text": texts[index % len(texts)]} for index in range(int(count))]
    print("engine, documents a second with one worker, with two, with two of which one is killed")
    for engine in [no_engine, engines.with_ray, engines.with_spark, engines.with_dask]:
        rates = [rate(engine, documents, model, workers) for workers in (1, 2)]
        if engine is not no_engine:
            with tempfile.TemporaryDirectory() as mark:
                rates.append(rate(engine, documents, model, 2, Path(mark)))
                assert engines.was_killed(Path(mark)), engine
        print(engine.__name__, *rates, flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
