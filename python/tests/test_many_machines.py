"""The examples of engines for many machines, each with a worker that is killed half way.

They run where the engine is installed: `pip install 'ray[data]' pyspark 'dask[distributed]'`.
"""

import shutil
from pathlib import Path
from typing import Any

import engines
import pytest
from conftest import TEXTS

from epitome_onnx import Summarizer

COUNT = 300


def text(index: int) -> str:
    return f"{TEXTS[index % len(TEXTS)]} {TEXTS[index % 2]}"


@pytest.fixture(scope="session")
def expected(summarizer: Summarizer) -> list[tuple[int, str]]:
    return [(index, summarizer(text(index)).text) for index in range(COUNT)]


NO_JAVA = pytest.mark.skipif(shutil.which("java") is None, reason="Spark needs Java")


@pytest.mark.parametrize(
    "engine, packages",
    [
        pytest.param(engines.with_ray, ["ray.data"], id="ray"),
        pytest.param(engines.with_spark, ["pyspark.sql", "pyarrow"], id="spark", marks=NO_JAVA),
        pytest.param(
            engines.with_dask, ["dask.distributed", "dask.dataframe", "pandas"], id="dask"
        ),
    ],
)
def test_no_summary_is_lost_and_none_comes_twice(
    engine: Any,
    packages: list[str],
    model: Path,
    expected: list[tuple[int, str]],
    tmp_path: Path,
) -> None:
    for package in packages:
        pytest.importorskip(package)
    documents = [{"id": index, "text": text(index)} for index in range(COUNT)]
    with engine(documents, str(model), 2, tmp_path) as job:
        summaries = job()
    assert engines.was_killed(tmp_path)
    assert sorted(summaries) == expected
