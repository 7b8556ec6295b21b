"""File formats that a user's own data comes in."""

from research.data.formats.csv import CSV

__all__ = ["CSV"]
