"""The button, and what goes with it: cancel, and make a mesh again."""

# Blender reads the annotations, so they must not be postponed. The stubs take some of Blender's
# properties for methods.
# pyright: reportInvalidTypeForm=false, reportAttributeAccessIssue=false, reportArgumentType=false
# pyright: reportOptionalMemberAccess=false, reportIncompatibleMethodOverride=false
# pyright: reportAssignmentType=false

from collections.abc import Callable

import bpy

from ...backend.errors import InputError
from ...backend.protocol import Failure
from ..backend_process import BackendError
from ..job import Job
from ..mesh_object import stored_on
from ..session import Order, order_of_object, order_of_scene, session, why_not_now

_TICK = 0.1  # seconds
_UNDOABLE = {"UNDO"}


class _Reconstructs:
    """An operator that works through an order: ``execute`` waits, ``invoke`` is modal.

    Undo is pushed when it finishes, which is when the mesh is added. Not registered for "repeat
    last", which would wait.
    """

    report: Callable[[set[str], str], None]
    _job: Job | None = None
    _timer: bpy.types.Timer | None = None

    def order(self, context: bpy.types.Context) -> Order:
        """What is to be made."""
        raise NotImplementedError

    def execute(self, context: bpy.types.Context) -> set[str]:
        """Reconstruct and wait for it: for scripts."""
        if not self._begin(context):
            return {"CANCELLED"}
        session.wait()
        return self._finish()

    def invoke(self, context: bpy.types.Context, event: bpy.types.Event) -> set[str]:
        """Reconstruct while the artist goes on."""
        if not self._begin(context):
            return {"CANCELLED"}
        manager = context.window_manager
        self._timer = manager.event_timer_add(_TICK, window=context.window)
        manager.modal_handler_add(self)  # pyright: ignore[reportArgumentType]
        return {"RUNNING_MODAL"}

    def modal(self, context: bpy.types.Context, event: bpy.types.Event) -> set[str]:
        """Look after the job and let every event pass."""
        if event.type != "TIMER":
            return {"PASS_THROUGH"}
        if session.job is self._job and session.busy:
            session.tick()
        if session.job is self._job and session.busy:
            return {"PASS_THROUGH"}
        self._stop_timer(context)
        return self._finish() if session.job is self._job else {"CANCELLED"}

    def cancel(self, context: bpy.types.Context) -> None:
        """Blender ends the operator: its window was closed, or another file is loaded."""
        self._stop_timer(context)
        if session.job is self._job:
            session.forget_job()

    def _begin(self, context: bpy.types.Context) -> bool:
        try:
            self._job = session.start(self.order(context))
        except (InputError, BackendError, OSError) as error:
            session.failure = session.failure or Failure(str(error), kind="input")
            self.report({"ERROR"}, session.failure.message)
            return False
        return True

    def _finish(self) -> set[str]:
        try:
            item = session.finish()
        except (OSError, ValueError) as error:
            session.failure = Failure(f"The result cannot be read: {error}.", "Click again.")
            item = None
        for note in session.notes:
            self.report({"WARNING"}, note)
        if session.failure:
            self.report({"ERROR"}, f"{session.failure.message} {session.failure.hint}".strip())
        if item is None:
            return {"CANCELLED"}
        self.report({"INFO"}, f"Made '{item.name}'")
        return {"FINISHED"}

    def _stop_timer(self, context: bpy.types.Context) -> None:
        if self._timer is not None:
            context.window_manager.event_timer_remove(self._timer)
        self._timer = None


class Reconstruct(_Reconstructs, bpy.types.Operator):
    """Make a closed mesh from the references, standing where they stand."""

    bl_idname = "image_to_mesh.reconstruct"
    bl_label = "Image to Mesh"
    bl_description = "Make a closed mesh from the references, standing where they stand"
    bl_options = _UNDOABLE

    @classmethod
    def poll(cls, context: bpy.types.Context) -> bool:
        """Whether nothing runs and there are references that the method can use."""
        if session.busy:
            cls.poll_message_set("A reconstruction is running")
            return False
        if why := why_not_now(context):
            cls.poll_message_set(why)
            return False
        return True

    def order(self, context: bpy.types.Context) -> Order:
        """What the panel says."""
        return order_of_scene(context)


class Recreate(_Reconstructs, bpy.types.Operator):
    """Make the active mesh again, with the references, settings and seed that it was made with."""

    bl_idname = "image_to_mesh.recreate"
    bl_label = "Recreate"
    bl_description = (
        "Make the active mesh again, with the references, settings and seed that it was made with"
    )
    bl_options = _UNDOABLE

    @classmethod
    def poll(cls, context: bpy.types.Context) -> bool:
        """Whether the active object was made here and nothing runs."""
        if session.busy:
            cls.poll_message_set("A reconstruction is running")
            return False
        if context.active_object is None or stored_on(context.active_object) is None:
            cls.poll_message_set("Select a mesh that Image to Mesh has made")
            return False
        return True

    def order(self, context: bpy.types.Context) -> Order:
        """What the object remembers."""
        assert context.active_object is not None
        assert context.scene is not None
        return order_of_object(context.active_object, context.scene)


class Cancel(bpy.types.Operator):
    """Stop the reconstruction."""

    bl_idname = "image_to_mesh.cancel"
    bl_label = "Cancel"
    bl_description = "Stop the reconstruction; nothing is added"

    @classmethod
    def poll(cls, context: bpy.types.Context) -> bool:
        """Whether one runs."""
        if not session.busy:
            cls.poll_message_set("No reconstruction is running")
            return False
        return True

    def execute(self, context: bpy.types.Context) -> set[str]:
        """Ask it to stop; the modal operator sees that it has."""
        session.cancel()
        return {"FINISHED"}


CLASSES = (Reconstruct, Recreate, Cancel)
