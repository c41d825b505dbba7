"""The examples of engines for many machines, each with a worker that is killed half way.

They run where the engine is installed: `pip install 'ray[data]' pyspark 'dask[distributed]'`.
"""

import importlib.util
import os
import shutil
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from conftest import ROOT, TEXTS

from epitome_onnx import Summarizer

COUNT = 300


@pytest.fixture(scope="session")
def expected(summarizer: Summarizer) -> dict[int, str]:
    return {index: summarizer(text(index)).text for index in range(COUNT)}


def text(index: int) -> str:
    return f"{TEXTS[index % len(TEXTS)]} {TEXTS[index % 2]}"


def documents() -> list[dict[str, Any]]:
    return [{"id": index, "text": text(index)} for index in range(COUNT)]


def example(name: str) -> ModuleType:
    path = ROOT / "examples" / "many-machines" / f"{name}.py"
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def dying_once(work: Callable[..., Any], mark: Path) -> Callable[..., Any]:
    """`work`, but the process that is the second to do some kills itself, once."""

    def dying(*arguments: Any) -> Any:
        for name in ("first", "second"):
            try:
                os.close(os.open(mark / name, os.O_CREAT | os.O_EXCL))
            except FileExistsError:
                continue
            if name == "second":
                os.kill(os.getpid(), signal.SIGKILL)
            break
        return work(*arguments)

    return dying


def was_killed(mark: Path) -> bool:
    return sorted(os.listdir(mark)) == ["first", "second"]


def test_ray(model: Path, expected: dict[int, str], tmp_path: Path) -> None:
    ray = pytest.importorskip("ray")
    pytest.importorskip("ray.data")
    module = example("with_ray")
    whole = module.Summaries
    whole.__call__ = dying_once(whole.__call__, tmp_path)
    ray.init(num_cpus=4, include_dashboard=False, logging_level="error")
    try:
        source = ray.data.from_items(documents(), override_num_blocks=6)
        rows = module.summarize(source, str(model), 2).take_all()
    finally:
        ray.shutdown()
    assert was_killed(tmp_path)
    assert len(rows) == COUNT
    assert {row["id"]: row["summary"] for row in rows} == expected


@pytest.mark.skipif(shutil.which("java") is None, reason="Spark needs Java")
def test_spark(
    model: Path, expected: dict[int, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sql = pytest.importorskip("pyspark.sql")
    monkeypatch.setenv("PYSPARK_PYTHON", sys.executable)
    pytest.importorskip("pyarrow")
    module = example("with_spark")
    dying = dying_once(Summarizer.__call__, tmp_path)

    class Dying(Summarizer):
        def __call__(self, texts: Any, **parameters: Any) -> Any:
            return dying(self, texts, **parameters)

    module.Summarizer = Dying  # type: ignore[attr-defined]
    # Two tasks at a time, each of which may fail three times.
    spark = sql.SparkSession.builder.master("local[2,4]").getOrCreate()
    try:
        rows = [(row["id"], row["text"]) for row in documents()]
        source = spark.createDataFrame(rows, "id int, text string")
        rows = module.summarize(source.repartition(6), str(model), 1).collect()
    finally:
        spark.stop()
    assert was_killed(tmp_path)
    assert len(rows) == COUNT
    assert {row["id"]: row["summary"] for row in rows} == expected


def test_dask(model: Path, expected: dict[int, str], tmp_path: Path) -> None:
    distributed = pytest.importorskip("dask.distributed")
    frames = pytest.importorskip("dask.dataframe")
    pandas = pytest.importorskip("pandas")
    module = example("with_dask")
    module.part = dying_once(module.part, tmp_path)  # type: ignore[attr-defined]
    source = frames.from_pandas(pandas.DataFrame(documents()), npartitions=6)
    with distributed.LocalCluster(
        n_workers=2, threads_per_worker=1, dashboard_address=None
    ) as cluster, distributed.Client(cluster):
        table = module.summarize(source, str(model)).compute()
    assert was_killed(tmp_path)
    assert len(table) == COUNT
    assert dict(zip(table["id"], table["summary"], strict=True)) == expected
