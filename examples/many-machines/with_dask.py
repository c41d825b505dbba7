"""Summaries of many documents with Dask: each partition opens the model.

    pip install 'dask[distributed]' pandas pyarrow epitome-onnx
    python examples/many-machines/with_dask.py SCHEDULER MODEL documents.parquet summaries

The documents have columns `id` and `text`; the summaries get `id` and `summary`. Start workers with
one thread each (`dask worker SCHEDULER --nthreads 1`): the model has threads of its own.
"""

import sys

import dask.dataframe
import pandas
from dask.distributed import Client

from epitome_onnx import Summarizer


def part(table, summarizer):
    texts = [summary.text for summary in summarizer(table["text"].tolist())]
    return pandas.DataFrame({"id": table["id"], "summary": texts}, index=table.index)


def summarize(documents, model):
    """A table of summaries. Dask gives the partitions of a worker that dies to others."""
    columns = {"id": documents.dtypes["id"], "summary": "str"}
    like = pandas.DataFrame({name: pandas.Series(dtype=kind) for name, kind in columns.items()})
    # Only its path and options go to the workers.
    return documents.map_partitions(part, Summarizer(model), meta=like)


def main(scheduler, model, source, output):
    with Client(scheduler):
        summarize(dask.dataframe.read_parquet(source), model).to_parquet(output)


if __name__ == "__main__":
    main(*sys.argv[1:])
