"""Files of tasks: any prior's batches in HDF5, with references, for training and evaluation to read."""

from priorfit.task_files.task_file import TaskFile
from priorfit.task_files.writing import write_reference, write_tasks

__all__ = ["TaskFile", "write_reference", "write_tasks"]
