"""What the process runs in: its Python, its launcher's variables, and optional packages."""

import os
import re
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib import import_module
from types import ModuleType
from typing import TYPE_CHECKING, Any

from gradmidi.errors import CaptureError, GradmidiError

if TYPE_CHECKING:
    from importlib.metadata import EntryPoint

__all__ = [
    "TORCH",
    "Job",
    "check_version",
    "framework",
    "is_first",
    "note_of_slurm",
    "offered",
    "python",
    "rank_of",
]


def python() -> str:
    """Return the path of the running Python.

    Raises
    ------
    FileNotFoundError
        If Python does not know it, as in a program that embeds Python.
    """
    if not sys.executable:
        raise FileNotFoundError(
            "this program does not say where its Python is (sys.executable is not set)"
        )
    return sys.executable


RESTARTS = {
    "SLURM_RESTART_COUNT": "SLURM_JOB_ID",
    "TORCHELASTIC_RESTART_COUNT": "TORCHELASTIC_RUN_ID",
}
"""Variables that count how often a job was started again, and those that name the job."""

RANKS = {
    "RANK": "WORLD_SIZE",
    "LOCAL_RANK": "WORLD_SIZE",
    "OMPI_COMM_WORLD_RANK": "OMPI_COMM_WORLD_SIZE",
    "PMI_RANK": "PMI_SIZE",
    "MV2_COMM_WORLD_RANK": "MV2_COMM_WORLD_SIZE",
    "PMIX_RANK": "",
    "HOROVOD_RANK": "HOROVOD_SIZE",
    "FLUX_TASK_RANK": "FLUX_JOB_SIZE",
    "JSM_NAMESPACE_RANK": "JSM_NAMESPACE_SIZE",
    "PALS_RANKID": "PALS_NRANKS",
    "ALPS_APP_PE": "",
    "SLURM_PROCID": "SLURM_NTASKS",
}
"""Variables that hold a process's rank, and the number of processes, by launcher.

In order: torchrun and Accelerate; Open MPI; MPICH, Intel MPI and others with PMI; MVAPICH; PMIx;
Horovod over Gloo; Flux; IBM's jsrun; HPE's PALS and ALPS; Slurm.
"""


def rank_of(environment: Mapping[str, str] = os.environ) -> tuple[int, str]:
    """Return this process's rank and the variable that holds it; 0 for the only process.

    Examples
    --------
    >>> rank_of({"RANK": "3", "LOCAL_RANK": "0"}), rank_of({"PMI_RANK": "1", "PMI_SIZE": "1"})
    ((3, 'RANK'), (0, 'PMI_RANK'))
    """
    known = (
        (0 if environment.get(size, "").strip() == "1" else int(environment[rank]), rank)
        for rank, size in RANKS.items()
        if environment.get(rank, "").strip().isdecimal()
    )
    return next(known, (0, ""))


def is_first(environment: Mapping[str, str] = os.environ) -> bool:
    """Return whether this is rank 0, or the only process.

    Examples
    --------
    >>> is_first({}), is_first({"RANK": "0", "LOCAL_RANK": "0"}), is_first({"RANK": "3"})
    (True, True, False)
    """
    return rank_of(environment)[0] == 0


def note_of_slurm(environment: Mapping[str, str] = os.environ) -> str:
    """Return what to tell the user of a task of SLURM that is not recorded, else nothing."""
    rank, name = rank_of(environment)
    if name != "SLURM_PROCID" or rank == 0:
        return ""
    # Several tasks of SLURM may also be independent trainings.
    return (
        f"rank {rank} of SLURM is not recorded, because only rank 0 is; if each task is a "
        f"separate training, unset {name}"
    )


@dataclass(frozen=True, slots=True)
class Job:
    """The job that this process belongs to, and how often it was started again.

    Parameters
    ----------
    names : tuple of str
        The job's name at each scheduler of `RESTARTS`; empty where it has none.
    restarts : tuple of int
        How often each of them has started the job again.

    Examples
    --------
    >>> first = Job.of({"SLURM_JOB_ID": "7"})
    >>> again = Job.of({"SLURM_JOB_ID": "7", "SLURM_RESTART_COUNT": "1"})
    >>> again.note, again.continues(first), first.continues(first)
    ('SLURM_RESTART_COUNT=1', True, False)
    >>> again.continues(Job.of({"SLURM_JOB_ID": "6"})), again.continues(again)
    (False, False)
    """

    names: tuple[str, ...] = ("",) * len(RESTARTS)
    restarts: tuple[int, ...] = (0,) * len(RESTARTS)

    @classmethod
    def of(cls, environment: Mapping[str, str] = os.environ) -> "Job":
        """Return the job that the environment describes."""
        counts = [environment.get(name, "") for name in RESTARTS]
        return cls(
            tuple(environment.get(name, "") for name in RESTARTS.values()),
            tuple(int(each) if each.isdecimal() else 0 for each in counts),
        )

    @property
    def note(self) -> str:
        """The variables that say that the job was started again; empty if it was not."""
        counted = zip(RESTARTS, self.restarts, strict=True)
        return ", ".join(f"{name}={times}" for name, times in counted if times)

    @property
    def variables(self) -> dict[str, str]:
        """The variables, with their values, that describe the job; empty outside of a scheduler."""
        counted = zip(RESTARTS, map(str, self.restarts), strict=True)
        named = zip(RESTARTS.values(), self.names, strict=True)
        return {name: value for name, value in (*named, *counted) if value not in ("", "0")}

    def continues(self, earlier: "Job") -> bool:
        """Return whether this is `earlier`, started again; jobs without names may be the same."""
        same = all(
            own == other or not (own and other)
            for own, other in zip(self.names, earlier.names, strict=True)
        )
        return same and self.restarts > earlier.restarts


TORCH = "2.4"
"""The oldest PyTorch that `listen` supports."""


def framework(module: str, packages: str | Sequence[str], least: str) -> ModuleType:
    """Import a module of a framework; raise if its package is missing or too old.

    Parameters
    ----------
    module : str
        The module to import.
    packages : str or sequence of str
        The package on PyPI. Of several, any one is enough, and errors name the first.
    least : str
        The oldest version supported.

    Raises
    ------
    CaptureError
        If it is not installed, or too old.

    Examples
    --------
    >>> framework("numpy.linalg", "numpy", "1.26").__name__
    'numpy.linalg'
    >>> framework("numpy", "numpy", "99.1")  # doctest: +ELLIPSIS
    Traceback (most recent call last):
    gradmidi.errors.CaptureError: numpy 99.1 or newer is needed; ...: pip install 'numpy>=99.1'
    """
    if not check_version(packages, least):
        raise CaptureError(_needed(packages, least, "it is not installed"))
    return import_module(module)


def offered(entry: "EntryPoint", kind: type[GradmidiError] = GradmidiError) -> Any:
    """Import what an installed package offers as an entry point; raise `kind` if that fails."""
    try:
        return entry.load()
    except Exception as error:
        package = entry.dist.name if entry.dist else entry.module
        raise kind(
            f"{entry.name!r} of the installed package {package} cannot be imported: "
            f"{type(error).__name__}: {error}; update or uninstall {package}"
        ) from error


def check_version(packages: str | Sequence[str], least: str) -> bool:
    """Check that a package, if installed, is new enough, without importing it.

    Parameters
    ----------
    packages : str or sequence of str
        The package on PyPI. Of several, any one is enough, and errors name the first.
    least : str
        The oldest version supported.

    Returns
    -------
    bool
        Whether it is installed.

    Raises
    ------
    CaptureError
        If it is too old.
    """
    from importlib import metadata

    too_old = ""
    for package in (packages,) if isinstance(packages, str) else packages:
        try:
            found = metadata.version(package)
        except metadata.PackageNotFoundError:
            continue
        if _numbers(found) >= _numbers(least):
            return True
        too_old = found
    if too_old:
        raise CaptureError(_needed(packages, least, f"this is {too_old}"))
    return False


def _needed(packages: str | Sequence[str], least: str, there: str) -> str:
    name = packages if isinstance(packages, str) else packages[0]
    return f"{name} {least} or newer is needed; {there}: pip install '{name}>={least}'"


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(map(int, re.findall(r"\d+", version)[:2]))
