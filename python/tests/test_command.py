"""The command `epitome` of the package, and how ONNX Runtime is found."""

import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path

import pytest
from conftest import COMMAND, FIXTURES, TEXTS, epitome

from epitome_onnx import Summarizer, errors

def test_the_command_is_the_programs() -> None:
    version = epitome("--version")
    assert version.returncode == 0
    assert version.stdout.startswith("epitome ")
    assert epitome("no-such-command").returncode == 2
    missing = epitome("inspect", "nowhere")
    assert missing.returncode in (1, 2)
    assert missing.stderr.startswith("epitome: ")


def test_the_command_exports_and_summarizes(tmp_path: Path) -> None:
    bundle, text = tmp_path / "bundle", tmp_path / "text.txt"
    exported = epitome("export", FIXTURES / "tiny" / "bart-gelu", "--output", bundle)
    assert exported.returncode == 0, exported.stderr
    text.write_text(TEXTS[0])
    done = epitome("summarize", "--model", bundle, text)
    assert done.stdout.strip() == Summarizer(bundle)(TEXTS[0]).text.strip()


@pytest.mark.parametrize("flags", [[], ["--supervise"]])
def test_ctrl_c_ends_a_server(model: Path, flags: list[str]) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    server = subprocess.Popen(
        [*COMMAND, "serve", "--model", str(model), "--port", str(port), *flags],
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        for _ in range(600):
            try:
                with urllib.request.urlopen(f"http://127.0.0.1:{port}/ping") as answer:
                    assert answer.status == 200
                    break
            except (urllib.error.URLError, ConnectionError):
                assert server.poll() is None, server.stderr and server.stderr.read()
                time.sleep(0.1)
        else:
            pytest.fail("the server does not answer")
        server.send_signal(signal.SIGINT)
        assert server.wait(60) in (0, 130, -signal.SIGINT)
    finally:
        server.kill()
        server.communicate()


SCRIPT = """
import sys
from epitome_onnx import Summarizer
Summarizer(sys.argv[1])
assert "onnxruntime" not in sys.modules, "it was imported"
print({line.split()[-1] for line in open("/proc/self/maps") if "libonnxruntime" in line})
"""


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_the_library_of_the_package_onnxruntime_is_loaded(model: Path, tmp_path: Path) -> None:
    environment = {**os.environ, "EPITOME_CACHE": str(tmp_path)}
    environment.pop("ORT_DYLIB_PATH", None)
    command = [sys.executable, "-c", SCRIPT, str(model)]
    done = subprocess.run(command, capture_output=True, text=True, env=environment, check=True)
    assert "/onnxruntime/capi/libonnxruntime.so" in done.stdout
    assert not list(tmp_path.iterdir()), "nothing is fetched"


def test_our_own_search_comes_last(model: Path, tmp_path: Path) -> None:
    script = """
import importlib.util, sys
find = importlib.util.find_spec
importlib.util.find_spec = lambda name, *rest: None if name == "onnxruntime" else find(name, *rest)
from epitome_onnx import Summarizer
Summarizer(sys.argv[1])
"""
    environment = {**os.environ, "EPITOME_CACHE": str(tmp_path), "PATH": ""}
    environment.pop("ORT_DYLIB_PATH", None)
    command = [sys.executable, "-c", script, str(model)]
    done = subprocess.run(command, capture_output=True, text=True, env=environment)
    assert "errors.LibraryError: cannot fetch ONNX Runtime" in done.stderr


def test_the_variable_comes_first(model: Path, tmp_path: Path) -> None:
    script = "import sys; from epitome_onnx import Summarizer; Summarizer(sys.argv[1])"
    environment = {**os.environ, "ORT_DYLIB_PATH": str(tmp_path / "missing.so")}
    command = [sys.executable, "-c", script, str(model)]
    done = subprocess.run(command, capture_output=True, text=True, env=environment)
    assert "epitome_onnx.errors.LibraryError: ORT_DYLIB_PATH names" in done.stderr
    assert issubclass(errors.LibraryError, OSError)
