"""The rank of this process, by the variables that launchers of several processes set."""

import os
from collections.abc import Mapping

__all__ = ["is_first", "note_of_slurm", "rank_of"]

RANKS = {
    "RANK": "WORLD_SIZE",
    "LOCAL_RANK": "WORLD_SIZE",
    "OMPI_COMM_WORLD_RANK": "OMPI_COMM_WORLD_SIZE",
    "PMI_RANK": "PMI_SIZE",
    "MV2_COMM_WORLD_RANK": "MV2_COMM_WORLD_SIZE",
    "PMIX_RANK": "",
    "FLUX_TASK_RANK": "FLUX_JOB_SIZE",
    "SLURM_PROCID": "SLURM_NTASKS",
}
"""Variables that hold a process's rank, and the number of processes, by launcher.

In order: torchrun and Accelerate; Open MPI; MPICH, Intel MPI and others with PMI; MVAPICH; PMIx;
Flux; Slurm.
"""


def rank_of(environment: Mapping[str, str] = os.environ) -> tuple[int, str]:
    """Return this process's rank and the variable that holds it; 0 for the only process.

    Examples
    --------
    >>> rank_of({"RANK": "3", "LOCAL_RANK": "0"}), rank_of({"PMI_RANK": "1", "PMI_SIZE": "1"})
    ((3, 'RANK'), (0, 'PMI_RANK'))
    """
    known = (
        (0 if environment.get(size) == "1" else int(environment[rank]), rank)
        for rank, size in RANKS.items()
        if environment.get(rank, "").isdecimal()
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
