"""Runs further clients, each in its own environment, which this script creates.

    python3 tests/clients/more.py target/debug/epitome [NAME ...]

It takes two gigabytes of disk and some minutes. It needs Node and npm.
"""

import os
import pathlib
import shutil
import subprocess
import sys
import tempfile
import venv

from check import ROOT, Server

WORK = ROOT / "target/clients"
# Packages of each environment. docs/clients.md has the same versions.
PYTHON = {
    "sagemaker2": ["sagemaker==2.257.0"],
    # The part of SDK 3.27 that calls endpoints. All of it takes gigabytes.
    "sagemaker3": ["sagemaker-core==2.27.0"],
    "awscli": ["awscli==1.46.3"],
    "langchain": [
        "langchain-aws==1.9.1",
        "langchain-huggingface==1.2.3",
        "langchain-openai==1.7.4",
    ],
    "llamaindex": [
        "llama-index-llms-huggingface-api==0.8.0",
        "llama-index-llms-openai-like==0.8.1",
    ],
}
NPM = [
    "@aws-sdk/client-sagemaker-runtime@3.1164.0",
    "@huggingface/inference@4.13.30",
    "openai@6.49.0",
]


def python(name):
    """The Python of an environment."""
    folder = WORK / name
    program = folder / "bin/python"
    if not (folder / "complete").exists():
        venv.create(folder, clear=True, with_pip=True)
        subprocess.run([program, "-m", "pip", "install", "--quiet", *PYTHON[name]], check=True)
        (folder / "complete").touch()
    return program


def run_python(name, *arguments):
    script = pathlib.Path(__file__).with_name("more_clients.py")
    subprocess.run([python(name), script, name, *arguments], check=True)


def run_javascript(*arguments):
    folder = WORK / "javascript"
    folder.mkdir(parents=True, exist_ok=True)
    if not (folder / "node_modules").exists():
        (folder / "package.json").write_text('{"private": true, "type": "module"}')
        command = ["npm", "install", "--silent", "--no-audit", "--no-fund", *NPM]
        subprocess.run(command, cwd=folder, check=True)
    script = shutil.copy(pathlib.Path(__file__).with_name("javascript.mjs"), folder)
    subprocess.run(["node", script, *arguments], check=True)


def main():
    binary, *names = sys.argv[1:]
    binary = str(pathlib.Path(binary).resolve())
    with tempfile.TemporaryDirectory() as folder:
        model = os.path.join(folder, "model")
        checkpoint = ROOT / "fixtures/tiny/pegasus-relu"
        subprocess.run([binary, "export", checkpoint, "--output", model], check=True)
        with Server(binary, model) as plain, Server(
            binary, model, HF_TASK="summarization"
        ) as summarization:
            for name in names or [*PYTHON, "javascript"]:
                if name == "javascript":
                    run_javascript(plain.url, summarization.url)
                else:
                    run_python(name, plain.url, summarization.url)
                    print(f"{name}: as expected", flush=True)


if __name__ == "__main__":
    main()
