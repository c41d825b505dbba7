"""Summaries of many documents with Spark: each task opens the model.

    pip install pyspark pandas pyarrow epitome-onnx
    spark-submit examples/many-machines/with_spark.py MODEL documents.parquet summaries

The documents have columns `id` and `text`; the summaries get `id` and `summary`. Set
`spark.task.cpus` to the threads of a model.
"""

import sys

import pandas
from pyspark.sql import SparkSession

from epitome_onnx import Summarizer


def summarize(documents, model, threads):
    """A table of summaries. Spark runs a task whose worker dies again."""
    # Only its path and options go to the workers.
    summarizer = Summarizer(model, threads=threads)

    def batches(tables):
        for table in tables:
            summaries = summarizer(table["text"].tolist())
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
