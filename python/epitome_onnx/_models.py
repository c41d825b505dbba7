"""Models by a name, a folder or an archive."""

import os
import shutil
import tempfile
import warnings
import weakref
from collections.abc import Iterable
from pathlib import Path

from . import _epitome
from ._program import command, installed_library

StrPath = str | os.PathLike[str]

_library = installed_library()
if _library is not None:
    _epitome.use_library(str(_library))
_epitome.use_program(*command())


def export(
    source: StrPath,
    output: StrPath,
    *,
    precision: str = "fp32",
    base: StrPath | None = None,
    layout: str = "bundle",
    verify: bool = True,
    calibrate: StrPath | Iterable[str] | None = None,
    calibrate_limit: int = 256,
    text_column: str | None = None,
) -> Path:
    """Writes a fine-tuned checkpoint as a bundle, and returns its folder.

    Args:
        source: A checkpoint folder, or the `model.tar.gz` of a training job.
        output: The folder to write; an earlier export there is replaced.
        precision: `fp32`, `fp16`, `int8` or `int4`.
        base: What the source's adapter was trained on, where it does not lie beside it.
        layout: `bundle`, or `optimum` for standard ONNX as optimum writes it.
        verify: Whether to load what was written and prove it sound.
        calibrate: With int4, documents like those that the model will read, to round the weights
            by what it computes on them: a file or a folder, or a list of their texts.
        calibrate_limit: How many of them are taken, the first ones.
        text_column: Column of their texts, where the file is a table.

    Raises:
        ExportError: What is wrong with the source, or cannot be written. Nothing is left behind.
    """
    base = None if base is None else os.fspath(base)
    documents: str | list[str] | None = None
    if isinstance(calibrate, (str, os.PathLike)):
        documents = os.fspath(calibrate)
    elif calibrate is not None:
        documents = list(calibrate)
    _epitome.export(
        os.fspath(source),
        os.fspath(output),
        precision,
        base,
        layout,
        verify,
        documents,
        calibrate_limit,
        text_column,
    )
    return Path(output)


def pull(
    id: str,
    *,
    name: str | None = None,
    precision: str = "int8",
    base: StrPath | None = None,
    verify: bool = True,
) -> str:
    """Fetches a model of the Hugging Face hub, and exports it to the store under its name.

    The checkpoint goes to the cache of the hub. `HF_ENDPOINT`, `HF_TOKEN`, `HF_HOME` and
    `HF_HUB_OFFLINE` are heeded.

    Args:
        id: `OWNER/NAME` of the model, and `@REVISION` for a branch, tag or commit of it.
        name: A name in the store, in place of the model's own.
        precision: `fp32`, `fp16`, `int8` or `int4`.
        base: What an adapter was trained on, where its own word does not hold.
        verify: Whether to load what was written and prove it sound.

    Returns:
        The name of the model in the store, which `Summarizer` and `pipeline` take.

    Raises:
        ModelError: Why the model cannot be fetched or exported.
    """
    return _epitome.pull(id, name, precision, None if base is None else os.fspath(base), verify)


class Bundle:
    """The folder of a bundle, from a path or from the name of a model in the store.

    A checkpoint or an archive is exported to a temporary folder, which goes with the process.
    """

    def __init__(self, model: StrPath) -> None:
        self.path = _epitome.locate(os.fspath(model))
        if _is_checkpoint(Path(self.path)):
            scratch = tempfile.mkdtemp(prefix="epitome-")
            weakref.finalize(self, _remove, scratch, os.getpid())
            warnings.warn(
                f"'{self.path}' is exported for this process only: "
                f"epitome_onnx.export({self.path!r}, FOLDER) keeps what it makes",
                stacklevel=4,
            )
            self.path = os.fspath(export(model, Path(scratch) / "bundle"))


def _is_checkpoint(path: Path) -> bool:
    if path.is_file():
        return True
    return (path / "config.json").is_file() and not (path / "manifest.json").is_file()


def _remove(folder: str, process: int) -> None:
    # A forked child shares the folder with its parent, which still uses it.
    if os.getpid() == process:
        shutil.rmtree(folder, ignore_errors=True)
