"""The driver of the peers benchmark, with the standard library only."""

from pathlib import Path

# The folder of the benchmark, and that of everything that it installs.
FOLDER = Path(__file__).resolve().parent.parent
INSTALLED = FOLDER / "target"


class BenchError(Exception):
    """An error with a message for the user."""
