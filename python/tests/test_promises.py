"""Threads, forks, pickles, signals and memory, on which programs rely."""

import multiprocessing
import os
import pickle
import shutil
import subprocess
import sys
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from conftest import TEXTS

from epitome_onnx import Summarizer

LONG = {"num_beams": 4, "min_length": 20, "max_length": 24}
ENDLESS = {"num_beams": 1, "suppress_tokens": [1], "max_new_tokens": 1_000_000_000}


def run(script: str, *arguments: object, **environment: str) -> str:
    """The output of a script in a new process."""
    done = subprocess.run(
        [sys.executable, "-c", script, *map(str, arguments)],
        capture_output=True,
        env={**os.environ, **environment},
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def other_threads_run_during(call: Callable[[], object]) -> bool:
    """Whether another thread of Python runs before `call` returns.

    Threads do not take turns here: the other one runs only where the lock of the interpreter is
    released. A call that is over before the other thread has woken up is made again.
    """
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1000.0)
    try:
        for _ in range(50):
            gate = threading.Lock()
            gate.acquire()
            state, seen = ["before"], []

            def look(gate: Any = gate, state: list[str] = state, seen: list[str] = seen) -> None:
                gate.acquire()
                seen.append(state[0])

            other = threading.Thread(target=look)
            other.start()
            state[0] = "during"
            gate.release()
            call()
            state[0] = "after"
            other.join()
            if seen == ["during"]:
                return True
    finally:
        sys.setswitchinterval(interval)
    return False


def test_python_runs_on_while_a_model_is_loaded(model: Path) -> None:
    assert other_threads_run_during(lambda: Summarizer(model))


def test_python_runs_on_while_a_model_generates(summarizer: Summarizer) -> None:
    ids = [summarizer.tokenize(TEXTS[0])]
    assert other_threads_run_during(lambda: summarizer(TEXTS, **LONG))
    assert other_threads_run_during(lambda: summarizer.generate(ids, **LONG))
    assert not other_threads_run_during(lambda: sum(range(1_000_000)))


def test_threads_share_a_model(summarizer: Summarizer) -> None:
    expected = [summarizer(text, num_beams=2) for text in TEXTS]
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda text: summarizer(text, num_beams=2), TEXTS * 8))
    assert found == expected * 8


def test_a_pickle_holds_path_and_options(model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(model.parent)
    summarizer = Summarizer(model.name, threads=1, source_prefix="The ")
    pickled = pickle.dumps(summarizer)
    assert len(pickled) < 500
    monkeypatch.chdir("/")
    again = pickle.loads(pickled)
    assert again.threads == 1
    assert again.tokenize("tool") == summarizer.tokenize("tool")
    assert again(TEXTS) == summarizer(TEXTS)


def in_child(work: Callable[[], object]) -> Any:
    """The result of `work` in a forked process."""
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            answer: object = work()
        except BaseException as error:
            answer = error
        with os.fdopen(writing, "wb") as file:
            file.write(pickle.dumps(answer))
        os._exit(0)
    os.close(writing)
    with os.fdopen(reading, "rb") as file:
        answer = pickle.loads(file.read())
    os.waitpid(child, 0)
    return answer


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_a_forked_process_opens_the_model_again(model: Path) -> None:
    summarizer = Summarizer(model, threads=2)
    expected = summarizer(TEXTS)
    assert in_child(lambda: summarizer(TEXTS)) == expected
    # Forks while another thread is in the middle of a search.
    with ThreadPoolExecutor(1) as pool:
        running = pool.submit(lambda: [summarizer(TEXTS * 4, **LONG) for _ in range(4)])
        assert in_child(lambda: summarizer(TEXTS)) == expected
        assert running.result()
    assert summarizer(TEXTS) == expected


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_a_pool_of_forked_processes_works(model: Path) -> None:
    summarizer = Summarizer(model, threads=1)
    expected = summarizer(TEXTS)
    with multiprocessing.get_context("fork").Pool(2) as pool:
        assert pool.map(summarizer, TEXTS) == expected


def test_a_forked_process_ends_by_itself(model: Path) -> None:
    script = """
import os, sys, warnings
from epitome_onnx import Summarizer
warnings.simplefilter("ignore")
summarizer = Summarizer(sys.argv[1], threads=2)
text = summarizer("The tool compares two folders.").text
stream = summarizer.stream("The tool compares two folders.")
next(stream)
child = os.fork()
if child == 0:
    assert summarizer("The tool compares two folders.").text == text
    try:
        next(stream)
    except Exception as error:
        print(error, flush=True)
    sys.exit(7)
assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 7
"""
    assert "does not survive a fork" in run(script, model)


def test_threads_follow_the_affinity_of_the_process(model: Path) -> None:
    script = """
import os, sys
from epitome_onnx import Summarizer
allowed = sorted(os.sched_getaffinity(0))
print(Summarizer(sys.argv[1]).threads, len(allowed))
os.sched_setaffinity(0, allowed[:1])
print(Summarizer(sys.argv[1]).threads)
print(Summarizer(sys.argv[1], threads=3).threads)
"""
    first, one, three = run(script, model).splitlines()
    threads, allowed = map(int, first.split())
    assert 1 <= threads <= allowed
    assert (one, three) == ("1", "3")


def test_threads_follow_the_quota_of_the_cgroup(model: Path) -> None:
    # cgroup version 1 has a tree for each resource, version 2 has one for all.
    is_first = Path("/sys/fs/cgroup/cpu/cpu.cfs_quota_us").exists()
    tree = Path("/sys/fs/cgroup/cpu" if is_first else "/sys/fs/cgroup")
    group = tree / f"epitome-test-{os.getpid()}"
    try:
        group.mkdir()
        if is_first:
            (group / "cpu.cfs_period_us").write_text("100000")
            (group / "cpu.cfs_quota_us").write_text("100000")
        else:
            (group / "cpu.max").write_text("100000 100000")
    except OSError as error:
        pytest.skip(f"no cgroup can be made here: {error}")
    if not (group / "cgroup.procs").exists():
        shutil.rmtree(group)
        pytest.skip(f"no cgroup can be made here: {tree} is an ordinary folder")
    script = """
import os, sys
from pathlib import Path
(Path(sys.argv[2]) / "cgroup.procs").write_text(str(os.getpid()))
from epitome_onnx import Summarizer
print(Summarizer(sys.argv[1]).threads)
"""
    try:
        assert run(script, model, group) == "1"
    finally:
        group.rmdir()


INTERRUPTED = """
import json, os, signal, sys, threading
from epitome_onnx import Summarizer
# Python ignores the signal if the tests run in the background.
signal.signal(signal.SIGINT, signal.default_int_handler)
summarizer = Summarizer(sys.argv[1], threads=1)
parameters = json.loads(sys.argv[2])
gate = threading.Lock()
gate.acquire()
inside = False
def interrupt():
    # Threads do not take turns: this one runs when the search has released the interpreter.
    gate.acquire()
    print(inside)
    os.kill(os.getpid(), signal.SIGINT)
threading.Thread(target=interrupt).start()
sys.setswitchinterval(1000.0)
inside = True
gate.release()
try:
    if sys.argv[3] == "call":
        summarizer("a text", **parameters)
    elif sys.argv[3] == "generate":
        summarizer.generate([[20, 21, 1]], **parameters)
    else:
        for _ in summarizer.stream("a text", **parameters):
            pass
except KeyboardInterrupt:
    print("interrupted")
sys.setswitchinterval(0.005)
summarizer("another text")
"""


@pytest.mark.parametrize("way", ["call", "generate", "stream"])
def test_an_interrupt_stops_a_search_without_end(bundle: Callable[..., Path], way: str) -> None:
    import json

    # T5 has no limit of positions.
    assert run(INTERRUPTED, bundle("t5-gated"), json.dumps(ENDLESS), way) == "True\ninterrupted"


MEMORY = """
import sys
from epitome_onnx import Summarizer
def anonymous():
    lines = open("/proc/self/status").read().splitlines()
    return int(next(line for line in lines if line.startswith("RssAnon")).split()[1])
Summarizer(sys.argv[1])
before = anonymous()
summarizer = Summarizer(sys.argv[2])
summarizer("The tool compares two folders and tells what differs.")
print(anonymous() - before)
inside = False
size = dirty = 0
for line in open("/proc/self/smaps"):
    if "-" in line.split()[0]:
        inside = line.rstrip().endswith("weights.bin") and sys.argv[2] in line
    elif inside and line.startswith("Size:"):
        size += int(line.split()[1])
    elif inside and line.startswith("Private_Dirty:"):
        dirty += int(line.split()[1])
print(size, dirty)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_processes_share_the_weights(model: Path, demo: Path) -> None:
    weights = (demo / "weights.bin").stat().st_size // 1024
    grown, mapped = run(MEMORY, model, demo).splitlines()
    size, dirty = map(int, mapped.split())
    assert size >= weights > 8000
    assert dirty == 0
    # Caches and buffers of a summary take some memory.
    assert int(grown) < weights * 3 / 4, "the weights were copied"
