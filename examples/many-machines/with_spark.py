"""Summaries of many documents with Spark: a model for each task.

    pip install pyspark pandas pyarrow epitome-onnx
    spark-submit examples/many-machines/with_spark.py MODEL documents.parquet summaries

The documents have columns `id` and `text`; the summaries get `id` and `summary`. Set
`spark.task.cpus` to the threads of a model.
"""

import sys
from functools import lru_cache

import pandas
from pyspark.sql import SparkSession


@lru_cache(1)
def summarizer(model, threads):
    """Opened once in a Python worker, which Spark keeps for many tasks."""
    from epitome_onnx import Summarizer

    return Summarizer(model, threads=threads)


def summarize(documents, model, threads):
    """A table of summaries. Spark runs a task whose worker dies again."""

    def batches(tables):
        for table in tables:
            summaries = summarizer(model, threads)(table["text"].tolist())
            texts = [summary.text for summary in summaries]
            yield pandas.DataFrame({"id": table["id"], "summary": texts})

    identifier = documents.schema["id"].dataType.simpleString()
    return documents.mapInPandas(batches, f"id {identifier}, summary string")


def main(model, source, output):
    spark = SparkSession.builder.appName("summaries").getOrCreate()
    threads = int(spark.conf.get("spark.task.cpus", "1"))
    summarize(spark.read.parquet(source), model, threads).write.parquet(output)


if __name__ == "__main__":
    main(*sys.argv[1:])
