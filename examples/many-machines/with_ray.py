"""Summaries of many documents with Ray Data: an actor for each model, each with its own threads.

    pip install 'ray[data]' epitome-onnx
    python examples/many-machines/with_ray.py MODEL documents.parquet summaries

The documents have columns `id` and `text`; the summaries get `id` and `summary`.
"""

import sys

import ray

THREADS = 2


class Summaries:
    """An actor: it opens the model once, and Ray hands it one batch after another."""

    def __init__(self, model):
        from epitome_onnx import Summarizer

        self.summarizer = Summarizer(model, threads=THREADS)

    def __call__(self, batch):
        summaries = self.summarizer(batch["text"].tolist())
        return {"id": batch["id"], "summary": [summary.text for summary in summaries]}


def summarize(documents, model, actors):
    """A dataset of summaries. A batch whose actor dies is given to another one."""
    return documents.map_batches(
        Summaries,
        fn_constructor_args=[model],
        batch_size=64,
        num_cpus=THREADS,
        concurrency=actors,
    )


def main(model, source, output):
    actors = max(1, int(ray.cluster_resources()["CPU"]) // THREADS)
    summarize(ray.data.read_parquet(source), model, actors).write_parquet(output)


if __name__ == "__main__":
    ray.init()
    main(*sys.argv[1:])
