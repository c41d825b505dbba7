#!/usr/bin/env python3
"""A hub on this machine, for trying `epitome pull` without a network.

    python tests/hub/local_hub.py OWNER/NAME=FOLDER... [--port 8989]
    HF_ENDPOINT=http://127.0.0.1:8989 epitome pull OWNER/NAME

Serves the files of each FOLDER (or of a model.tar.gz) as a repository, as far as a download asks
for them: the listing of a revision, and files with the headers that name them."""

import argparse
import hashlib
import http.server
import json
import pathlib
import re
import tarfile


def read(source):
    path = pathlib.Path(source)
    if path.is_dir():
        return {p.name: p.read_bytes() for p in sorted(path.iterdir()) if p.is_file()}
    with tarfile.open(path) as archive:
        files = [entry for entry in archive if entry.isfile()]
        return {pathlib.Path(f.name).name: archive.extractfile(f).read() for f in files}


class Handler(http.server.BaseHTTPRequestHandler):
    repositories = {}
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        path = self.path.split("?")[0]
        listing = re.fullmatch(r"/api/models/([^/]+/[^/]+)/revision/.+", path)
        file = re.fullmatch(r"/([^/]+/[^/]+)/resolve/[^/]+/(.+)", path)
        if path == "/api/models":
            self.answer(b"[]", "application/json")
        elif listing and listing[1] in self.repositories:
            self.answer(self.listing(listing[1]), "application/json")
        elif file and file[2] in self.repositories.get(file[1], {}):
            self.answer(self.repositories[file[1]][file[2]], "application/octet-stream")
        else:
            self.send_error(404)

    do_HEAD = do_GET

    def listing(self, name):
        siblings = [
            {"rfilename": file, "size": len(content)}
            for file, content in self.repositories[name].items()
        ]
        card = {"license": "apache-2.0"}
        listing = {"id": name, "sha": self.commit(), "siblings": siblings, "cardData": card}
        return json.dumps(listing).encode()

    def commit(self):
        return hashlib.sha1(b"one").hexdigest()

    def answer(self, content, media_type):
        start = 0
        if match := re.fullmatch(r"bytes=(\d+)-", self.headers.get("Range", "")):
            start = int(match[1])
        self.send_response(206 if start else 200)
        if start:
            range_ = f"bytes {start}-{len(content) - 1}/{len(content)}"
            self.send_header("Content-Range", range_)
        self.send_header("Content-Type", media_type)
        self.send_header("Content-Length", str(len(content) - start))
        self.send_header("ETag", f'"{hashlib.sha256(content).hexdigest()}"')
        self.send_header("X-Repo-Commit", self.commit())
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(content[start:])

    def log_message(self, *_):
        pass


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("repositories", nargs="+", metavar="OWNER/NAME=FOLDER")
    parser.add_argument("--port", type=int, default=8989)
    options = parser.parse_args()
    for repository in options.repositories:
        name, source = repository.split("=", 1)
        Handler.repositories[name] = read(source)
    server = http.server.ThreadingHTTPServer(("127.0.0.1", options.port), Handler)
    print(f"HF_ENDPOINT=http://127.0.0.1:{server.server_port}", flush=True)
    server.serve_forever()


main()
