"""Summaries of many documents with Dask: a model for each worker.

    pip install 'dask[distributed]' pandas pyarrow epitome-onnx
    python examples/many-machines/with_dask.py SCHEDULER MODEL documents.parquet summaries

The documents have columns `id` and `text`; the summaries get `id` and `summary`. Start workers with
one thread each (`dask worker SCHEDULER --nthreads 1`): the model has threads of its own.
"""

import sys
from functools import lru_cache

import dask.dataframe
import pandas
from dask.distributed import Client


@lru_cache(1)
def summarizer(model):
    """Opened once in a worker."""
    from epitome_onnx import Summarizer

    return Summarizer(model)


def part(table, model):
    summaries = summarizer(model)(table["text"].tolist()) if len(table) else []
    texts = [summary.text for summary in summaries]
    return pandas.DataFrame({"id": table["id"], "summary": texts}, index=table.index)


def summarize(documents, model):
    """A table of summaries. Dask gives the parts of a worker that dies to others."""
    like = pandas.DataFrame({"id": documents.dtypes["id"].type([]), "summary": []})
    like = like.astype({"id": documents.dtypes["id"], "summary": "string"})
    return documents.map_partitions(part, model, meta=like)


def main(scheduler, model, source, output):
    with Client(scheduler):
        summarize(dask.dataframe.read_parquet(source), model).to_parquet(output)


if __name__ == "__main__":
    main(*sys.argv[1:])
