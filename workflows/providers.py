"""The tools of the example macros, made from the settings."""

from __future__ import annotations

from collections.abc import AsyncIterator

from heddle import Settings, provides
from workflows.files import Files, LocalFiles
from workflows.forge import Forge
from workflows.github import github
from workflows.local_git import LocalGit


@provides
async def forge(settings: Settings) -> AsyncIterator[Forge]:
    """The git repositories under `forge.root`, or those on GitHub: `forge.kind` says which."""
    match settings.forge.kind:
        case "local":
            yield LocalGit(settings.forge.root)
        case "github":
            async with github(settings) as found:
                yield found


@provides
async def files(settings: Settings) -> AsyncIterator[Files]:
    """The files under `forge.root`."""
    yield LocalFiles(settings.forge.root)
