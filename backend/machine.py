"""What this machine has and what a process takes of it. Never imports torch itself.

Everything here is told in the first second, so it asks the system and not a library: torch alone
would take longer than that to import.
"""

from __future__ import annotations

import ctypes
import importlib.metadata
import importlib.util
import os
import platform
import re
import sys
import time
from functools import partial
from pathlib import Path
from typing import Any

GIB = 2**30
REFERENCE_SECONDS = 0.0090
"""Time of one transform in :func:`speed` on the machine that the methods' seconds come from."""

_CALIBRATION_SECONDS = 0.1


# What there is -----------------------------------------------------------------------------------


def torch_version() -> str:
    """Version of the installed torch, or "" if there is none."""
    try:
        return importlib.metadata.version("torch")
    except importlib.metadata.PackageNotFoundError:
        return ""


def devices() -> tuple[dict[str, Any], ...]:
    """The devices that torch can use, best first, as ``protocol.Hello`` lists them."""
    memory = round(total_memory() / GIB, 1)
    processor = {"name": "cpu", "label": processor_name(), "memory_gib": memory}
    if torch_is_for_cuda() and (card := nvidia_card()):
        return (card, processor)
    if torch_version() and (sys.platform, platform.machine()) == ("darwin", "arm64"):
        return (
            {"name": "mps", "label": f"{processor_name()} GPU", "memory_gib": memory},
            processor,
        )
    return (processor,)


def torch_is_for_cuda() -> bool:
    """Whether the installed torch is a CUDA build; its ``version.py`` is read, not imported."""
    found = importlib.util.find_spec("torch")
    if found is None or not found.origin:
        return False
    try:
        text = Path(found.origin).with_name("version.py").read_text(encoding="utf-8")
    except OSError:
        return False
    return re.search(r"^cuda\b[^=\n]*= *['\"]", text, re.MULTILINE) is not None


def nvidia_card() -> dict[str, Any] | None:
    """The first NVIDIA card by the driver's own word, or None where there is no driver or card."""
    try:
        driver = ctypes.CDLL("nvcuda.dll" if sys.platform == "win32" else "libcuda.so.1")
    except OSError:
        return None
    device, memory = ctypes.c_int(), ctypes.c_size_t()
    label = ctypes.create_string_buffer(128)
    calls = (
        partial(driver.cuInit, 0),
        partial(driver.cuDeviceGet, ctypes.byref(device), 0),
        lambda: driver.cuDeviceGetName(label, len(label), device),
        lambda: driver.cuDeviceTotalMem_v2(ctypes.byref(memory), device),
    )
    if any(call() != 0 for call in calls):
        return None
    name = label.value.decode(errors="replace")
    return {"name": "cuda", "label": name, "memory_gib": round(memory.value / GIB, 1)}


def processor_name() -> str:
    """As its maker calls it, else its architecture."""
    ask = {"linux": _linux_processor, "darwin": _mac_processor, "win32": _windows_processor}
    try:
        name = ask[sys.platform]()
    except (KeyError, OSError, StopIteration, ImportError):
        name = ""
    return " ".join(name.split()) or platform.machine()


def _linux_processor() -> str:
    lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    return next(line for line in lines if line.startswith("model name")).partition(":")[2]


def _mac_processor() -> str:
    name, size = ctypes.create_string_buffer(128), ctypes.c_size_t(128)
    system = ctypes.CDLL("/usr/lib/libSystem.dylib")
    wanted = b"machdep.cpu.brand_string"
    failed = system.sysctlbyname(wanted, name, ctypes.byref(size), None, ctypes.c_size_t(0))
    return "" if failed else name.value.decode()


def _windows_processor() -> str:
    winreg: Any = importlib.import_module("winreg")
    place = r"HARDWARE\DESCRIPTION\System\CentralProcessor\0"
    with winreg.OpenKey(winreg.HKEY_LOCAL_MACHINE, place) as key:
        return str(winreg.QueryValueEx(key, "ProcessorNameString")[0])


def total_memory() -> int:
    """Bytes of main memory."""
    if sys.platform != "win32":
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    status = _WindowsMemory(length=ctypes.sizeof(_WindowsMemory))
    _windows("kernel32").GlobalMemoryStatusEx(ctypes.byref(status))
    return int(status.total)


def speed() -> float:
    """Of this processor beside the reference's, by the transform that fair hulls are made of.

    Takes a tenth of a second; the fastest of some runs is the one that nothing else disturbed.
    """
    try:
        import numpy as np
        from scipy.fft import dctn
    except ImportError:
        return 1.0
    field = np.random.default_rng(0).standard_normal((96, 96, 96))
    best, begin = float("inf"), time.perf_counter()
    while (start := time.perf_counter()) < begin + _CALIBRATION_SECONDS:
        dctn(field)
        best = min(best, time.perf_counter() - start)
    return round(REFERENCE_SECONDS / best, 2)


# What a process takes ----------------------------------------------------------------------------


def process_memory(process: int) -> int:
    """Bytes of main memory that a process holds now; 0 when it cannot be found out."""
    ask = {"linux": _linux_memory, "darwin": _mac_memory, "win32": _windows_memory}
    try:
        return ask[sys.platform](process)
    except (KeyError, OSError, ValueError):
        return 0


def _linux_memory(process: int) -> int:
    pages = Path(f"/proc/{process}/statm").read_text(encoding="ascii").split()[1]
    return int(pages) * os.sysconf("SC_PAGE_SIZE")


def _mac_memory(process: int) -> int:
    usage = (ctypes.c_uint64 * 16)()  # struct rusage_info_v0: 16 bytes, then numbers of 8
    library = ctypes.CDLL("/usr/lib/libproc.dylib")
    return 0 if library.proc_pid_rusage(process, 0, ctypes.byref(usage)) else int(usage[8])


def _windows_memory(process: int) -> int:
    return int(_windows_counters(process).working_set)


def reset_peak_memory() -> None:
    """Begin to measure anew, where the system can."""
    if sys.platform == "linux":
        try:
            Path("/proc/self/clear_refs").write_text("5", encoding="ascii")
        except OSError:
            return  # not allowed in some containers: the peak is then the process's whole life's


def peak_memory() -> int:
    """Most bytes that this process held since :func:`reset_peak_memory`, or ever."""
    if sys.platform == "win32":
        return int(_windows_counters(os.getpid()).peak_working_set)
    if sys.platform == "linux":
        status = Path("/proc/self/status").read_text(encoding="utf-8")
        if found := re.search(r"^VmHWM:\s*(\d+) kB", status, re.MULTILINE):
            return int(found[1]) * 1024
    import resource

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


class _WindowsMemory(ctypes.Structure):
    """MEMORYSTATUSEX."""

    _fields_ = [
        ("length", ctypes.c_uint32),
        ("load", ctypes.c_uint32),
        ("total", ctypes.c_uint64),
        ("others", ctypes.c_uint64 * 6),
    ]


class _WindowsCounters(ctypes.Structure):
    """PROCESS_MEMORY_COUNTERS."""

    _fields_ = [
        ("size", ctypes.c_uint32),
        ("page_faults", ctypes.c_uint32),
        ("peak_working_set", ctypes.c_size_t),
        ("working_set", ctypes.c_size_t),
        ("others", ctypes.c_size_t * 6),
    ]


def _windows(library: str) -> Any:
    return ctypes.CDLL(f"{library}.dll")


def _windows_counters(process: int) -> _WindowsCounters:
    kernel = _windows("kernel32")
    kernel.OpenProcess.restype = ctypes.c_void_p
    may_query = 0x1000  # PROCESS_QUERY_LIMITED_INFORMATION
    handle = ctypes.c_void_p(kernel.OpenProcess(may_query, 0, process))
    counters = _WindowsCounters(size=ctypes.sizeof(_WindowsCounters))
    kernel.K32GetProcessMemoryInfo(handle, ctypes.byref(counters), counters.size)
    kernel.CloseHandle(handle)
    return counters
