"""The backend's buttons, and the one that lets a parameter follow the quality again."""

# Blender reads the annotations, so they must not be postponed. The stubs take some of Blender's
# properties for methods.
# pyright: reportInvalidTypeForm=false, reportAttributeAccessIssue=false, reportArgumentType=false
# pyright: reportOptionalMemberAccess=false, reportIncompatibleMethodOverride=false
# pyright: reportAssignmentType=false

import bpy
from bpy.props import StringProperty

from ..backend_process import BackendError
from ..properties import settings_of
from ..session import log_file, session

_UNDOABLE = {"REGISTER", "UNDO"}


class ReleaseMemory(bpy.types.Operator):
    """Give back the memory that the backend holds between jobs, on the graphics card too."""

    bl_idname = "image_to_mesh.release_memory"
    bl_label = "Release Memory"
    bl_description = (
        "Give back the memory that the backend holds between jobs, on the graphics card too"
    )

    @classmethod
    def poll(cls, context: bpy.types.Context) -> bool:
        """Whether the backend runs and is idle."""
        if session.backend is None or not session.backend.running:
            cls.poll_message_set("The backend is not running")
            return False
        if session.busy:
            cls.poll_message_set("A reconstruction is running")
            return False
        return True

    def execute(self, context: bpy.types.Context) -> set[str]:
        """Ask the backend."""
        session.release_memory()
        return {"FINISHED"}


class RestartBackend(bpy.types.Operator):
    """Start the backend, or end it and start it anew."""

    bl_idname = "image_to_mesh.restart_backend"
    bl_label = "Restart Backend"
    bl_description = (
        "Start the backend, or end it and start it anew; a running reconstruction is stopped"
    )

    def execute(self, context: bpy.types.Context) -> set[str]:
        """Stop and start."""
        session.stop_backend()
        session.failure = None
        try:
            session.ready_backend()
        except (BackendError, OSError) as error:
            self.report({"ERROR"}, str(error))
            return {"CANCELLED"}
        return {"FINISHED"}


class OpenLog(bpy.types.Operator):
    """Open the backend's log as a text of this file."""

    bl_idname = "image_to_mesh.open_log"
    bl_label = "Open Log"
    bl_description = "Open the backend's log as a text of this file"

    @classmethod
    def poll(cls, context: bpy.types.Context) -> bool:
        """Whether there is one."""
        if not log_file().is_file():
            cls.poll_message_set("There is no log yet")
            return False
        return True

    def execute(self, context: bpy.types.Context) -> set[str]:
        """Show it in a text editor of its own."""
        bpy.ops.wm.path_open(filepath=str(log_file()))
        return {"FINISHED"}


class ResetParameter(bpy.types.Operator):
    """Let this parameter follow the quality again."""

    bl_idname = "image_to_mesh.reset_parameter"
    bl_label = "Reset Parameter"
    bl_description = "Let this parameter follow the quality again"
    bl_options = _UNDOABLE

    parameter: StringProperty(name="Parameter", description="Its name; empty for all")

    def execute(self, context: bpy.types.Context) -> set[str]:
        """Reset one, or all of the method's."""
        assert context.scene is not None
        group = settings_of(context.scene).parameters()
        for name in [self.parameter] if self.parameter else group.names():
            group.reset(name)
        return {"FINISHED"}


CLASSES = (
    ReleaseMemory,
    RestartBackend,
    OpenLog,
    ResetParameter,
)
