"""Bundles of the tiny checkpoints, each exported once."""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import epitome_onnx

ROOT = Path(__file__).resolve().parents[2]
FIXTURES = ROOT / "fixtures"

TEXTS = [
    "The tool compares two folders.",
    "The server accepts requests over the network, keeps them in.",
    "The compiler translates the language into machine code for ten kinds of processors.",
]

# The command that the tests run: that of the package, or another program.
PROGRAM = os.environ.get("EPITOME_PROGRAM")
COMMAND = [PROGRAM] if PROGRAM else [sys.executable, "-m", "epitome_onnx"]


def epitome(*arguments: object, **options: Any) -> "subprocess.CompletedProcess[str]":
    """Runs the command."""
    command = [*COMMAND, *map(str, arguments)]
    done: subprocess.CompletedProcess[str] = subprocess.run(
        command, capture_output=True, text=True, **options
    )
    return done


@pytest.fixture(autouse=True, scope="session")
def own_store(tmp_path_factory: pytest.TempPathFactory) -> None:
    """Hides the user's models from the tests."""
    os.environ["EPITOME_HOME"] = str(tmp_path_factory.mktemp("home"))


@pytest.fixture(scope="session")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    folder = tmp_path_factory.mktemp("bundles")

    def exported(name: str, precision: str = "fp32") -> Path:
        output = folder / f"{name}-{precision}"
        if not output.exists():
            epitome_onnx.export(FIXTURES / "tiny" / name, output, precision=precision)
        return output

    return exported


@pytest.fixture(scope="session")
def model(bundle: Callable[..., Path]) -> Path:
    """A small PEGASUS with 4 beams by default."""
    return bundle("pegasus-gelu")


@pytest.fixture(scope="session")
def summarizer(model: Path) -> epitome_onnx.Summarizer:
    return epitome_onnx.Summarizer(model, threads=1)


@pytest.fixture(scope="session")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The trained model of the repository: 16 MB of weights."""
    output = tmp_path_factory.mktemp("demo") / "bundle"
    return epitome_onnx.export(FIXTURES / "pegasus-debian.tar.gz", output)
