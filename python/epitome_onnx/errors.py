"""Errors. Each message is a sentence that says what was wrong, where, and what would be right."""

__all__ = [
    "DocumentError",
    "EpitomeError",
    "ExportError",
    "GenerationError",
    "LibraryError",
    "ModelError",
    "ParameterError",
    "TextError",
]


class EpitomeError(Exception):
    """Every error of this package."""


class ParameterError(EpitomeError, ValueError):
    """A parameter is unknown, out of range, or contradicts another."""


class TextError(EpitomeError, ValueError):
    """A text, or the token ids in its place, cannot be read by the model."""


class ModelError(EpitomeError, OSError):
    """The given model does not exist, or is damaged."""


class LibraryError(EpitomeError, OSError):
    """ONNX Runtime cannot be found or loaded."""


class ExportError(EpitomeError, ValueError):
    """A checkpoint cannot be exported."""


class DocumentError(EpitomeError, ValueError):
    """A document cannot be read."""


class GenerationError(EpitomeError, RuntimeError):
    """The model failed while it generated."""
