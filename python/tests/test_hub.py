"""Models of a fake hub on this machine."""

import hashlib
import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from conftest import FIXTURES, TEXTS

import epitome_onnx
from epitome_onnx import Summarizer, errors

NAME = "someone/tiny-pegasus"
FOLDER = FIXTURES / "tiny" / "pegasus-gelu"
COMMIT = "0123456789abcdef0123456789abcdef01234567"


class Hub(BaseHTTPRequestHandler):
    """Describes one model, and serves its files."""

    asked: list[str] = []

    def do_GET(self) -> None:
        path = self.path.partition("?")[0].replace("%2F", "/")
        self.asked.append(path)
        file = FOLDER / path.rpartition("/")[2]
        if path.startswith(f"/api/models/{NAME}"):
            files = [(each.name, each.stat().st_size) for each in FOLDER.iterdir()]
            siblings = [{"rfilename": name, "size": size, "lfs": None} for name, size in files]
            self.answer(json.dumps({"id": NAME, "sha": COMMIT, "siblings": siblings}).encode())
        elif path.startswith(f"/{NAME}/resolve/") and file.is_file():
            self.answer(file.read_bytes())
        else:
            self.send_error(404)

    do_HEAD = do_GET

    def answer(self, body: bytes) -> None:
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("X-Repo-Commit", COMMIT)
        self.send_header("ETag", f'"{hashlib.sha1(body).hexdigest()}"')
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Writes no log."""


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[type[Hub]]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Hub)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    monkeypatch.setenv("HF_ENDPOINT", f"http://127.0.0.1:{server.server_port}")
    monkeypatch.setenv("HF_HOME", str(tmp_path / "hf"))
    monkeypatch.setenv("EPITOME_HOME", str(tmp_path / "store"))
    Hub.asked.clear()
    yield Hub
    server.shutdown()
    thread.join()
    server.server_close()


def test_a_model_of_the_hub_is_pulled_once(hub: type[Hub]) -> None:
    pipe = epitome_onnx.pipeline("summarization", model=NAME)
    answer = pipe(TEXTS[0])
    assert hub.asked
    hub.asked.clear()
    for name in (NAME, f"hf://{NAME}", f"https://huggingface.co/{NAME}", "tiny-pegasus"):
        assert Summarizer(name)(TEXTS[0]).text == answer[0]["summary_text"]
    assert not hub.asked
    assert Summarizer(NAME).manifest["precision"] == "int8"


def test_pull_names_the_model_of_the_store(hub: type[Hub]) -> None:
    assert epitome_onnx.pull(NAME, name="mine", precision="fp32") == "mine"
    assert Summarizer("mine").manifest["precision"] == "fp32"


def test_what_the_hub_does_not_have_is_told(hub: type[Hub]) -> None:
    with pytest.raises(errors.ModelError, match="no folder 'models/mine'.*models/mine"):
        Summarizer("models/mine")
    with pytest.raises(errors.ModelError, match="does not exist"):
        Summarizer("./models/mine")
