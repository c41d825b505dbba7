"""Documents a second of the examples for many machines, with one and two workers of one thread.

    python bench/many_machines.py MODEL [DOCUMENTS]   # see python/check-engines

The documents are those of fixtures/summaries/validation-1000.csv. A job counts whole: workers that
start, open the model, and hand back the summaries. The engine itself runs already.
"""

import csv
import os
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
EXAMPLES = str(ROOT / "examples" / "many-machines")
# Here, and in the workers.
sys.path.insert(0, EXAMPLES)
os.environ["PYTHONPATH"] = EXAMPLES


def documents(count):
    with (ROOT / "fixtures" / "summaries" / "validation-1000.csv").open(newline="") as file:
        texts = [row["text"] for row in csv.DictReader(file)]
    return [{"id": index, "text": texts[index % len(texts)]} for index in range(count)]


def alone(rows, model, workers):
    """The package without an engine: one process, as many threads as the engines get workers."""
    from epitome_onnx import Summarizer

    summarizer = Summarizer(model, threads=workers)
    return timed(lambda: summarizer([row["text"] for row in rows]), rows)


def ray(rows, model, workers):
    import ray
    import with_ray

    with_ray.THREADS = 1
    ray.init(num_cpus=2 * workers, include_dashboard=False, logging_level="error")
    try:
        ray.data.DataContext.get_current().enable_progress_bars = False
        source = ray.data.from_items(rows, override_num_blocks=4 * workers).materialize()
        return timed(lambda: with_ray.summarize(source, model, workers).take_all(), rows)
    finally:
        ray.shutdown()


def spark(rows, model, workers):
    os.environ["PYSPARK_PYTHON"] = sys.executable
    import with_spark
    from pyspark.sql import SparkSession

    session = SparkSession.builder.master(f"local[{workers}]").getOrCreate()
    session.sparkContext.setLogLevel("ERROR")
    try:
        pairs = [(row["id"], row["text"]) for row in rows]
        source = session.createDataFrame(pairs, "id int, text string").repartition(4 * workers)
        source.cache().count()
        return timed(lambda: with_spark.summarize(source, model, 1).collect(), rows)
    finally:
        session.stop()


def dask(rows, model, workers):
    import dask.dataframe
    import pandas
    import with_dask
    from dask.distributed import Client, LocalCluster

    source = dask.dataframe.from_pandas(pandas.DataFrame(rows), npartitions=4 * workers)
    cluster = LocalCluster(n_workers=workers, threads_per_worker=1, dashboard_address=None)
    with cluster, Client(cluster):
        return timed(lambda: with_dask.summarize(source, model).compute(), rows)


def timed(job, rows):
    begun = time.perf_counter()
    assert len(job()) == len(rows)
    return len(rows) / (time.perf_counter() - begun)


def main(model, count="1000"):
    rows = documents(int(count))
    for engine in [alone, ray, spark, dask]:
        rates = [engine(rows, model, workers) for workers in (1, 2)]
        print(f"{engine.__name__}: {rates[0]:.1f} with one worker, {rates[1]:.1f} with two", flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
