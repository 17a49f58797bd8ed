"""The example macros for tests, from their modules as tests import them: `load` of the folder would make every class in it anew."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from heddle.macros.loading import load

WORKFLOWS: Final = Path(__file__).resolve().parents[1] / "workflows"
EXAMPLES: Final = load([f"workflows.{file.stem}" for file in sorted(WORKFLOWS.glob("*.py")) if file.stem != "__init__"])
