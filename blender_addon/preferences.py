"""The extension's preferences: which Python the backend runs with, and how it gets there.

Drawn from ``WORK`` and the properties; ``operators/installation.py`` does what the buttons say.
"""

# Blender reads the annotations, so they must not be postponed. The stubs take some of Blender's
# properties for methods, and name every icon.
# pyright: reportInvalidTypeForm=false, reportAttributeAccessIssue=false, reportArgumentType=false

import textwrap
from dataclasses import dataclass
from pathlib import Path

import bpy
from bpy.props import EnumProperty, StringProperty

from .backend_install import (
    Installer,
    Plan,
    environment_folder,
    plan_installation,
    read_installed,
)
from .backend_process import BackendError
from .extension import PACKAGE, extension_folder
from .python_check import Environment, EnvironmentCheck, find_python

_LETTER = 6.5  # pixels, on average, before Blender's own scale
_DEVICES = [
    ("auto", "Automatic", "The graphics processor when torch can use it, else the processor"),
    ("cpu", "Processor", "The processor (CPU): works everywhere, slower"),
    ("cuda", "NVIDIA (CUDA)", "An NVIDIA graphics card"),
    ("mps", "Apple (Metal)", "The graphics processor of a Mac with Apple silicon"),
]


@dataclass
class Work:
    """What runs now, or ran last: polled by ``operators/installation.py``."""

    check: EnvironmentCheck | None = None
    installer: Installer | None = None

    @property
    def installing(self) -> bool:
        """Whether an installation runs."""
        return self.installer is not None and self.installer.state == "running"


WORK = Work()


def installation_folder() -> Path:
    """Where the installed environment lies, made when it is not there."""
    return extension_folder("backend")


class ImageToMeshPreferences(bpy.types.AddonPreferences):
    """What an artist sets once for all files."""

    bl_idname = PACKAGE

    def _python_changed(self, _context: bpy.types.Context) -> None:
        self.checked = ""
        if self.python and not bpy.app.background:
            bpy.ops.image_to_mesh.check_python("INVOKE_DEFAULT")

    python: StringProperty(
        name="Python",
        description="A Python 3.11 to 3.13 that has torch and the other packages: its executable "
        "or the folder of its environment. Empty: the installed one",
        subtype="FILE_PATH",
        update=_python_changed,
    )
    checked: StringProperty(
        name="Checked", description="What was found out about that Python", options={"HIDDEN"}
    )
    wheels: StringProperty(
        name="Folder of Wheels",
        description="Install without network from the wheels in this folder, which "
        "'python -m pip download' fills on another machine. Empty: from the network",
        subtype="DIR_PATH",
    )
    index: StringProperty(
        name="Extra Wheel Index",
        description="Address of one more index of wheels, for another build of torch than the "
        "usual one; torch's installation page names them. Empty: the usual one only",
    )
    device: EnumProperty(
        name="Device", description="What the backend computes on", items=_DEVICES, default="auto"
    )

    # State

    def chosen_python(self) -> Path | None:
        """The place named in ``python``; None when there is none."""
        return Path(bpy.path.abspath(self.python)) if self.python else None

    def environment(self) -> Environment:
        """What is known about the Python that the backend runs with; starts nothing.

        An unchecked one is given the benefit of the doubt.
        """
        place = self.chosen_python()
        if place is None:
            return read_installed(installation_folder())
        python = find_python(place)
        if python is None:
            return Environment(str(place), problem=f"There is no Python at '{place}'.")
        return Environment.from_json(self.checked) or Environment(str(python))

    def backend_problem(self) -> str:
        """Why the backend cannot be started, one sentence; empty when it can."""
        if WORK.installing:
            return "The backend is being installed; wait until it is done."
        return self.environment().problem

    def backend_command(self) -> list[str]:
        """The Python that runs the backend: the chosen one, or else the installed one.

        Raises:
            BackendError: Neither can be used: says why and what to do.
        """
        if problem := self.backend_problem():
            raise BackendError(f"{problem} See the preferences of this extension.")
        return [self.environment().python]

    def plan(self) -> Plan:
        """What pressing Install does."""
        wheels = Path(bpy.path.abspath(self.wheels)) if self.wheels else None
        online = bpy.app.online_access
        return plan_installation(installation_folder(), wheels, self.index, online)

    # Drawing

    def draw(self, context: bpy.types.Context) -> None:
        """Show the state, the two ways to a backend, and what installing means."""
        scale = context.preferences.system.ui_scale
        length = max(40, int((context.region.width / scale - 60) / _LETTER))
        self._draw_state(self.layout.box(), length)
        self._draw_choice(self.layout.box())
        box = self.layout.box()
        box.label(text="Or install one, apart from Blender's own")
        if WORK.installing:
            _draw_progress(box, length)
        else:
            self._draw_installation(box, length)
            _draw_ending(box, length)
        self.layout.prop(self, "device")

    def _draw_state(self, layout: bpy.types.UILayout, length: int) -> None:
        environment, problem = self.environment(), self.backend_problem()
        if problem:
            _write(layout, problem, length, "ERROR")
        elif environment.version:
            _write(layout, f"The backend is ready: {environment.summary}.", length, "CHECKMARK")
        else:
            _write(layout, f"'{environment.python}' is not checked yet.", length, "QUESTION")
        if environment.note:
            _write(layout, environment.note, length, "INFO")
        if environment.version:
            layout.label(text=environment.python, icon="FILE_FOLDER")

    def _draw_choice(self, layout: bpy.types.UILayout) -> None:
        layout.label(text="Use a Python that has torch")
        row = layout.row()
        row.prop(self, "python")
        row.operator("image_to_mesh.choose_python")
        checking = WORK.check is not None
        row = layout.row()
        row.enabled = bool(self.python) and not checking
        row.operator("image_to_mesh.check_python", text="Checking…" if checking else "Check")

    def _draw_installation(self, layout: bpy.types.UILayout, length: int) -> None:
        layout.prop(self, "wheels")
        layout.prop(self, "index")
        plan = self.plan()
        for sentence in plan.sentences():
            _write(layout, sentence, length)
        if plan.problem:
            _write(layout, plan.problem, length, "ERROR")
        row = layout.row()
        row.operator("image_to_mesh.install_backend", icon="IMPORT")
        if environment_folder(plan.folder).exists():
            row.operator("image_to_mesh.repair_backend")
            row.operator("image_to_mesh.repair_backend", text="Start Afresh").afresh = True


def _draw_progress(layout: bpy.types.UILayout, length: int) -> None:
    installer = WORK.installer
    assert installer is not None
    row = layout.row()
    row.progress(factor=installer.fraction, text=installer.stage)
    row.operator("image_to_mesh.cancel_installation", text="", icon="X")
    layout.label(text=installer.message[:length])


def _draw_ending(layout: bpy.types.UILayout, length: int) -> None:
    """How the last installation ended, and the button to its log."""
    installer = WORK.installer
    if installer is None:
        return
    if installer.state == "failed":
        _write(layout, installer.failure, length, "ERROR")
    elif installer.state == "cancelled":
        _write(layout, installer.message, length, "INFO")
    if installer.log.exists():
        layout.operator("wm.path_open", text="Open Log", icon="TEXT").filepath = str(installer.log)


def _write(layout: bpy.types.UILayout, text: str, length: int, icon: str = "NONE") -> None:
    """A sentence on as many lines as it needs, which a label does not do by itself."""
    column = layout.column(align=True)
    for line in textwrap.wrap(text, length, break_on_hyphens=False):
        column.label(text=line, icon=icon)
        icon = "BLANK1" if icon != "NONE" else icon


def preferences() -> ImageToMeshPreferences:
    """The preferences of this extension, which must be switched on."""
    return bpy.context.preferences.addons[PACKAGE].preferences


CLASSES = (ImageToMeshPreferences,)
