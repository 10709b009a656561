"""Objects to a dataset: the button and its cancel."""

# The stubs take some of Blender's properties for methods.
# pyright: reportAttributeAccessIssue=false, reportArgumentType=false
# pyright: reportOptionalMemberAccess=false, reportIncompatibleMethodOverride=false

import bpy

from ...backend.errors import InputError, ReconstructionError
from ..dataset_run import run, why_not_now

_TICK = 0.2  # seconds
_LISTED = 5


class RenderDataset(bpy.types.Operator):
    """Render objects from many sides into a dataset: ``execute`` waits, ``invoke`` is modal.

    It changes nothing in the file, so there is nothing to undo.
    """

    bl_idname = "image_to_mesh.render_dataset"
    bl_label = "Render Dataset"
    bl_description = (
        "Render each object alone, from many sides, with masks, depth, normals and cameras; what "
        "is there already is not rendered again"
    )

    _timer: bpy.types.Timer | None = None

    @classmethod
    def poll(cls, context: bpy.types.Context) -> bool:
        """Whether nothing runs and there is something to render."""
        why = "A dataset is being rendered" if run.busy else why_not_now(context)
        if why:
            cls.poll_message_set(why[:1].upper() + why[1:].rstrip("."))
        return not why

    def execute(self, context: bpy.types.Context) -> set[str]:
        """Render here and wait for it: for scripts."""
        try:
            run.render_and_wait(context)
        except (InputError, ReconstructionError, OSError) as error:
            return self._failed(error)
        return self._finish()

    def invoke(self, context: bpy.types.Context, event: bpy.types.Event) -> set[str]:
        """Render in other processes while the artist goes on."""
        try:
            run.start(context)
        except (InputError, ReconstructionError, OSError) as error:
            return self._failed(error)
        manager = context.window_manager
        self._timer = manager.event_timer_add(_TICK, window=context.window)
        manager.modal_handler_add(self)
        return {"RUNNING_MODAL"}

    def modal(self, context: bpy.types.Context, event: bpy.types.Event) -> set[str]:
        """Look after the run and let every event pass."""
        if event.type != "TIMER":
            return {"PASS_THROUGH"}
        goes_on = run.poll()
        for window in context.window_manager.windows:
            for area in window.screen.areas:
                if area.type == "VIEW_3D":
                    area.tag_redraw()
        if goes_on:
            return {"PASS_THROUGH"}
        self._stop_timer(context)
        return self._finish()

    def cancel(self, context: bpy.types.Context) -> None:
        """Blender ends the operator: its window was closed, or another file is loaded."""
        self._stop_timer(context)
        run.cancel()

    def _failed(self, error: Exception) -> set[str]:
        run.fail(error)
        self.report({"ERROR"}, str(error))
        return {"CANCELLED"}

    def _finish(self) -> set[str]:
        failures = run.progress.failures if run.progress else {}
        for key, reason in list(failures.items())[:_LISTED]:
            self.report({"WARNING"}, f"{key}: {reason}")
        self.report({"ERROR" if run.failed else "INFO"}, run.message)
        return {"FINISHED"}

    def _stop_timer(self, context: bpy.types.Context) -> None:
        if self._timer is not None:
            context.window_manager.event_timer_remove(self._timer)
        self._timer = None


class CancelDataset(bpy.types.Operator):
    """Stop rendering the dataset; finished objects stay."""

    bl_idname = "image_to_mesh.cancel_dataset"
    bl_label = "Cancel"
    bl_description = "Stop rendering; finished objects stay, and the next run goes on with the rest"

    @classmethod
    def poll(cls, context: bpy.types.Context) -> bool:
        """Whether one is rendered."""
        if not run.busy:
            cls.poll_message_set("No dataset is being rendered")
        return run.busy

    def execute(self, context: bpy.types.Context) -> set[str]:
        """Stop it; the modal operator sees that it has."""
        run.cancel()
        return {"FINISHED"}


CLASSES = (RenderDataset, CancelDataset)
