"""The one place that holds the run that the panel has started.

It works in other processes, on a copy of the file: Blender stays usable, the artist may undo, edit
or save meanwhile, and nothing that a render needs ever gets into the artist's file.
"""

from __future__ import annotations

import contextlib
from typing import Any

import bpy

from ..backend.dataset_files import compose_dataset, open_dataset
from .dataset_command import worker_command
from .dataset_properties import dataset_settings_of
from .render_capture import could_have_faces
from .render_dataset import all_settings, render_items
from .render_workers import Progress, Workers


class DatasetRun:
    """A run over some items, or how the last one ended.

    Attributes:
        progress: Of the run; None before the first one.
        message: What went wrong, or how the run ended; empty while it runs.
        failed: Whether the message is about something that went wrong.
    """

    def __init__(self) -> None:
        self.progress: Progress | None = None
        self.message, self.failed = "", False
        self._workers: Workers | None = None
        self._held = contextlib.ExitStack()

    @property
    def busy(self) -> bool:
        """Whether a run goes on."""
        return self._workers is not None

    def start(self, context: bpy.types.Context) -> None:
        """Begin what the panel says.

        Raises:
            InputError: It cannot be done.
            ReconstructionError: The dataset cannot be written.
        """
        scene: Any = context.scene
        settings = dataset_settings_of(scene)
        items, content = settings.chosen_items(context), all_settings(settings.render_settings())
        dataset = settings.dataset()
        open_dataset(dataset, content)
        command = self._held.enter_context(worker_command(items))
        self._workers = Workers(dataset, content, items, command, settings.workers)
        self.progress, self.message, self.failed = self._workers.progress, "", False

    def poll(self) -> bool:
        """Look after the run, without waiting; returns whether it goes on."""
        if self._workers is not None and not self._workers.poll():
            self._finish(self._workers)
        return self.busy

    def cancel(self) -> None:
        """Stop the run; what is finished stays."""
        if self._workers is not None:
            self._workers.cancel()
            self._finish(self._workers)

    def render_and_wait(self, context: bpy.types.Context) -> None:
        """Do what the panel says in this Blender, for scripts.

        Raises:
            InputError: It cannot be done.
            ReconstructionError: The dataset cannot be written.
        """
        scene: Any = context.scene
        manager: Any = context.window_manager
        settings = dataset_settings_of(scene)
        items, chosen = settings.chosen_items(context), settings.render_settings()
        dataset = settings.dataset()
        open_dataset(dataset, all_settings(chosen))
        self.progress = Progress(len(items))
        self.message, self.failed = "", False
        manager.progress_begin(0.0, 1.0)
        steps = render_items(dataset, chosen, items, scene)
        try:
            for step in steps:
                self.progress.add(vars(step))
                manager.progress_update(self.progress.share)
        finally:
            steps.close()
            manager.progress_end()
            compose_dataset(dataset)
        self.message, self.failed = self.progress.summary(), self.progress.all_failed

    def fail(self, error: Exception) -> None:
        """Keep what went wrong for the panel."""
        self.message, self.failed = str(error), True

    def _finish(self, workers: Workers) -> None:
        self._workers = None
        self._held.close()
        self.message = workers.progress.summary()
        self.failed = workers.progress.all_failed
        if workers.error is not None:
            self.fail(workers.error)
        elif workers.state == "cancelled":
            self.message = f"Stopped: {self.message}; render again to go on"


run = DatasetRun()


def why_not_now(context: bpy.types.Context) -> str:
    """Why nothing can be rendered as the panel is set; empty if it can. Quick."""
    scene: Any = context.scene
    settings = dataset_settings_of(scene)
    if not settings.output:
        return "choose the folder of the dataset."
    if settings.source == "ASSETS":
        return "" if settings.assets else "choose the folder of the asset files."
    layer: Any = context.view_layer
    if settings.source == "SELECTION" and not any(map(could_have_faces, layer.objects.selected)):
        return "select the objects to render."
    return ""


def register() -> None:
    """Nothing runs yet."""


def unregister() -> None:
    """End whatever runs."""
    run.cancel()
