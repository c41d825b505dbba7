"""The engines, each in a process of its own that is pinned to as many cores as it may use."""

import json
import os
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import models

HERE = Path(__file__).parent


@dataclass(frozen=True)
class Engine:
    """An engine at a precision."""

    name: str
    precision: str

    def prepare(self, model, options):
        """The folder that it loads. Creates a missing one."""
        match self.name:
            case "epitome":
                return models.epitome(
                    model, options.work, self.precision, options.binaries / "epitome"
                )
            case "ctranslate2":
                return models.ctranslate2(model, options.work, self.precision)
            case "optimum":
                return optimum(model, options)
            case _:
                return models.checkpoint(model, options.work)

    def start(self, model, threads, options):
        folder = self.prepare(model, options)
        if self.name == "epitome":
            command = [
                options.binaries / "epitome-bench",
                "worker",
                "--model",
                folder,
                "--threads",
                threads,
            ]
        else:
            python = options.optimum_python if self.name == "optimum" else sys.executable
            command = [
                python,
                HERE / "worker.py",
                self.name,
                "--model",
                folder,
                "--precision",
                self.precision,
                "--checkpoint",
                models.checkpoint(model, options.work),
                "--threads",
                threads,
            ]
        return Worker([str(part) for part in command], threads)


def optimum(model, options):
    """The model as optimum-onnx exports it, with the Python that has it."""
    folder = options.work / model / "optimum-fp32"
    if not folder.is_dir():
        script = (
            "import sys; from optimum.onnxruntime import ORTModelForSeq2SeqLM as Model; "
            "Model.from_pretrained(sys.argv[1], export=True).save_pretrained(sys.argv[2])"
        )
        with models.Beside(folder) as partial:
            source = models.checkpoint(model, options.work)
            subprocess.run([options.optimum_python, "-c", script, source, partial], check=True)
    return folder


class Worker:
    """The process of an engine. It ends with its `with` block."""

    def __init__(self, command, threads):
        cores = sorted(os.sched_getaffinity(0))[:threads]
        pinned = ["taskset", "-c", ",".join(map(str, cores)), *command]
        environment = dict(
            os.environ,
            OMP_NUM_THREADS=str(threads),
            MKL_NUM_THREADS=str(threads),
            TOKENIZERS_PARALLELISM="false",
            HF_HUB_OFFLINE="1",
        )
        self.begun = time.perf_counter()
        self.process = subprocess.Popen(
            pinned, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment
        )
        self.engine = self.read()["engine"]

    def read(self):
        line = self.process.stdout.readline()
        if not line:
            raise EngineFailed(
                f"{' '.join(self.process.args)} ended with status {self.process.wait()}"
            )
        return json.loads(line)

    def ask(self, **request):
        self.process.stdin.write(json.dumps(request) + "\n")
        self.process.stdin.flush()
        return self.read()

    def load(self):
        return self.ask(op="load")["seconds"]

    def generate(self, ids, beams, tokens):
        """Seconds of a generation. Raises an error for a wrong number of tokens."""
        answer = self.ask(op="generate", ids=ids, beams=beams, tokens=tokens)
        if answer["steps"] != tokens:
            raise EngineFailed(f"{self.engine} generated {answer['steps']} tokens, not {tokens}")
        return answer["seconds"]

    def age(self):
        """Seconds since the process was started."""
        return time.perf_counter() - self.begun

    def peak_resident(self):
        """Peak resident memory in bytes, including mapped files."""
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        line = next(line for line in status.splitlines() if line.startswith("VmHWM"))
        return int(line.split()[1]) * 1024

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.stdin.close()
        try:
            self.process.wait(timeout=10)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()


class EngineFailed(Exception):
    """An engine ended, or gave a wrong result."""
