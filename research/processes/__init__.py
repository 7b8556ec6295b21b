"""Several processes that train one run together: how they find each other, agree, and end together."""

from research.processes.group import ProcessGroup, current
from research.processes.joining import SILENT, Place, find_place, join

__all__ = ["SILENT", "Place", "ProcessGroup", "current", "find_place", "join"]
