"""The buttons of the preferences: choose and check a Python; install, repair, cancel.

``invoke`` starts the work and returns, and a timer looks at it; ``execute``, for scripts and
``blender -b``, waits. The timer is Blender's own and no modal operator, because the window of the
preferences may be closed in the middle of an installation.
"""

# Blender reads the annotations, so they must not be postponed. The stubs know no operators of ours,
# and take some of Blender's properties for methods.
# pyright: reportInvalidTypeForm=false, reportAttributeAccessIssue=false
# pyright: reportIncompatibleMethodOverride=false

import time

import bpy
from bpy.props import BoolProperty, StringProperty

from ..backend_install import Installer
from ..preferences import WORK, preferences
from ..python_check import check_python
from ..session import session

_TICK = 0.1  # seconds


def tick() -> float | None:
    """Look at what runs; Blender's timer calls it again after the seconds that it returns."""
    _look_at_check()
    if WORK.installer is not None:
        running = WORK.installing
        WORK.installer.poll()
        if running and WORK.installer.state == "done":
            preferences().python = ""  # what was installed is what the artist now wants
    _redraw()
    return _TICK if WORK.check is not None or WORK.installing else None


def _look_at_check() -> None:
    found = WORK.check.poll() if WORK.check is not None else None
    if found is not None and WORK.check is not None:
        if WORK.check.place == preferences().chosen_python():
            preferences().checked = found.to_json()
        WORK.check = None


def _redraw() -> None:
    for window in bpy.context.window_manager.windows:
        for area in window.screen.areas:
            if area.type in ("PREFERENCES", "VIEW_3D"):
                area.tag_redraw()


def _keep_ticking() -> None:
    if not bpy.app.timers.is_registered(tick):
        bpy.app.timers.register(tick, first_interval=_TICK, persistent=True)


def _wait() -> None:
    """Tick until nothing runs; Ctrl-C ends the work too."""
    try:
        while tick() is not None:
            time.sleep(0.02)
    except KeyboardInterrupt:
        stop_work()
        raise


def stop_work() -> None:
    """End what runs, and the timer; Blender is leaving, or the extension is switched off."""
    if bpy.app.timers.is_registered(tick):
        bpy.app.timers.unregister(tick)
    if WORK.check is not None:
        WORK.check.cancel()
    if WORK.installer is not None:
        WORK.installer.cancel()
    WORK.check = WORK.installer = None


def _start_check() -> None:
    if WORK.check is not None:
        WORK.check.cancel()
    place = preferences().chosen_python()
    WORK.check = check_python(place) if place else None


def _check_and_wait(operator: bpy.types.Operator) -> set[str]:
    """The result is kept either way, so it is never CANCELLED."""
    _start_check()
    _wait()
    environment = preferences().environment()
    if environment.problem:
        operator.report({"ERROR"}, environment.problem)
    else:
        operator.report({"INFO"}, environment.summary)
    return {"FINISHED"}


def _start_installer(afresh: bool) -> None:
    session.stop_backend()  # it may run from the files that are about to change
    WORK.installer = Installer(preferences().plan(), afresh=afresh)
    WORK.installer.start()


class ChoosePython(bpy.types.Operator):
    """Choose the backend's Python."""

    bl_idname = "image_to_mesh.choose_python"
    bl_label = "Use This Python…"
    bl_description = (
        "Choose a Python that already has torch: its executable, or the folder of its environment"
    )

    filepath: StringProperty(name="Python", subtype="FILE_PATH")

    def invoke(self, context: bpy.types.Context, _event: bpy.types.Event) -> set[str]:
        """Ask for the file or folder."""
        self.filepath = preferences().python
        context.window_manager.fileselect_add(self)
        return {"RUNNING_MODAL"}

    def execute(self, _context: bpy.types.Context) -> set[str]:
        """Keep it and check it."""
        preferences().python = self.filepath
        if bpy.app.background:  # where no timer runs
            return _check_and_wait(self)
        return {"FINISHED"}  # the changed property has started a check


class CheckPython(bpy.types.Operator):
    """Check the chosen Python."""

    bl_idname = "image_to_mesh.check_python"
    bl_label = "Check Python"
    bl_description = "Look which packages the chosen Python has, and whether torch works there"

    @classmethod
    def poll(cls, _context: bpy.types.Context) -> bool:
        """A Python is chosen."""
        cls.poll_message_set("Choose a Python first")
        return bool(preferences().python)

    def invoke(self, _context: bpy.types.Context, _event: bpy.types.Event) -> set[str]:
        """Start and leave the rest to the timer."""
        _start_check()
        _keep_ticking()
        return {"FINISHED"}

    def execute(self, _context: bpy.types.Context) -> set[str]:
        """Check and wait for the result."""
        return _check_and_wait(self)


class _Installation:
    """What installing and repairing have in common; the operator's ``afresh`` tells them apart."""

    afresh = False

    @classmethod
    def poll(cls, _context: bpy.types.Context) -> bool:
        """One at a time."""
        cls.poll_message_set("An installation is running")
        return not WORK.installing

    def invoke(self, _context: bpy.types.Context, _event: bpy.types.Event) -> set[str]:
        """Start and leave the rest to the timer; what hinders it shows in the preferences."""
        _start_installer(self.afresh)
        _keep_ticking()
        return {"FINISHED"}

    def execute(self, _context: bpy.types.Context) -> set[str]:
        """Install and wait for the end."""
        _start_installer(self.afresh)
        _wait()
        assert WORK.installer is not None
        if WORK.installer.failure:
            self.report({"ERROR"}, WORK.installer.failure)
            return {"CANCELLED"}
        self.report({"INFO"}, f"Installed: {preferences().environment().summary}")
        return {"FINISHED"}


class InstallBackend(_Installation, bpy.types.Operator):
    """Install, or go on with an unfinished installation."""

    bl_idname = "image_to_mesh.install_backend"
    bl_label = "Install"
    bl_description = "Install the backend's packages into a folder of their own, or go on with it"

    @classmethod
    def unregister(cls) -> None:
        """Blender calls this when the extension is switched off, and when it quits."""
        stop_work()


class RepairBackend(_Installation, bpy.types.Operator):
    """Verify and mend the installation, or begin it again."""

    bl_idname = "image_to_mesh.repair_backend"
    bl_label = "Repair"
    bl_description = "Verify every file of the installation and install again what is broken"

    afresh: BoolProperty(
        name="Start Afresh", description="Delete the environment and install it again"
    )


class CancelInstallation(bpy.types.Operator):
    """Cancel the installation."""

    bl_idname = "image_to_mesh.cancel_installation"
    bl_label = "Cancel"
    bl_description = "End the installation; Install goes on from there later"

    @classmethod
    def poll(cls, _context: bpy.types.Context) -> bool:
        """An installation runs."""
        cls.poll_message_set("No installation is running")
        return WORK.installing

    def execute(self, _context: bpy.types.Context) -> set[str]:
        """End it at once."""
        if WORK.installer is not None:
            WORK.installer.cancel()
        _redraw()
        return {"FINISHED"}


CLASSES = (ChoosePython, CheckPython, InstallBackend, RepairBackend, CancelInstallation)
