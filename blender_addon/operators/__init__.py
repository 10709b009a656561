"""The operators: thin, each gathers its inputs, starts the work and reports."""

from . import backend, installation, models, reconstruction, references, rendering

CLASSES: tuple[type, ...] = (
    *references.CLASSES,
    *models.CLASSES,
    *reconstruction.CLASSES,
    *backend.CLASSES,
    *installation.CLASSES,
    *rendering.CLASSES,
)
