"""The examples for many machines with the real engines on this one, for their test and benchmark.

Each engine is a context: it starts, gets the documents in parts, and gives a job that summarizes
them. Workers have one thread each. Where there is a folder `mark`, one of them is killed.
"""

import importlib.util
import os
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any

EXAMPLES = Path(__file__).resolve().parents[2] / "examples" / "many-machines"
PARTS = 8
# The worker that begins this batch is killed.
TURN = 4

Documents = list[dict[str, Any]]
Job = Callable[[], list[tuple[int, str]]]


@contextmanager
def with_ray(
    documents: Documents, model: str, workers: int, mark: Path | None = None
) -> Iterator[Job]:
    import ray

    module = example("with_ray")
    module.THREADS = 1
    module.Summaries.__call__ = dying_once(module.Summaries.__call__, mark)
    ray.init(num_cpus=2 * workers, include_dashboard=False, logging_level="error")
    try:
        ray.data.DataContext.get_current().enable_progress_bars = False
        source = ray.data.from_items(documents, override_num_blocks=PARTS).materialize()
        yield lambda: pairs(module.summarize(source, model, workers).take_all())
    finally:
        ray.shutdown()


@contextmanager
def with_spark(
    documents: Documents, model: str, workers: int, mark: Path | None = None
) -> Iterator[Job]:
    from pyspark.sql import SparkSession

    module = example("with_spark")
    dying = dying_once(module.Summarizer.__call__, mark)

    class Summarizer(module.Summarizer):  # type: ignore[misc,name-defined]
        def __call__(self, texts: Any, **parameters: Any) -> Any:
            return dying(self, texts, **parameters)

    module.Summarizer = Summarizer  # type: ignore[attr-defined]
    os.environ["PYSPARK_PYTHON"] = sys.executable
    # Retries a failed task up to three times.
    session = SparkSession.builder.master(f"local[{workers},4]").getOrCreate()
    session.sparkContext.setLogLevel("ERROR")
    try:
        rows = [(document["id"], document["text"]) for document in documents]
        source = session.createDataFrame(rows, "id int, text string").repartition(PARTS)
        source.cache().count()
        yield lambda: pairs(module.summarize(source, model, 1).collect())
    finally:
        session.stop()


@contextmanager
def with_dask(
    documents: Documents, model: str, workers: int, mark: Path | None = None
) -> Iterator[Job]:
    import dask.dataframe
    import pandas
    from dask.distributed import Client, LocalCluster

    module = example("with_dask")
    module.part = dying_once(module.part, mark)
    source = dask.dataframe.from_pandas(pandas.DataFrame(documents), npartitions=PARTS)
    cluster = LocalCluster(n_workers=workers, threads_per_worker=1, dashboard_address=None)
    with cluster, Client(cluster):
        yield lambda: pairs(module.summarize(source, model).compute().to_dict("records"))


def pairs(rows: Any) -> list[tuple[int, str]]:
    return [(row["id"], row["summary"]) for row in rows]


def example(name: str) -> ModuleType:
    """A module of the examples. Engines send its content to workers, which need no file of it."""
    spec = importlib.util.spec_from_file_location(name, EXAMPLES / f"{name}.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def dying_once(work: Callable[..., Any], mark: Path | None) -> Callable[..., Any]:
    """`work`, but the process that begins the batch of `TURN` kills itself, once."""
    if mark is None:
        return work

    def dying(*arguments: Any, **parameters: Any) -> Any:
        for number in range(1, TURN + 1):
            try:
                os.close(os.open(mark / str(number), os.O_CREAT | os.O_EXCL))
            except FileExistsError:
                continue
            if number == TURN:
                os.kill(os.getpid(), signal.SIGKILL)
            break
        return work(*arguments, **parameters)

    return dying


def was_killed(mark: Path) -> bool:
    return (mark / str(TURN)).exists()
