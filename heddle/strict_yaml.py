"""YAML that people write by hand: a key that stands twice is a slip of the pen, and no case of "the last wins"."""

from __future__ import annotations

from collections.abc import Hashable
from typing import Any

import yaml


class Once(yaml.SafeLoader):
    """Refuses a mapping with a key twice, as a `yaml.MarkedYAMLError` that says where both are."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:  # PyYAML's
        """As PyYAML calls it."""
        lines: dict[tuple[str, str], int] = {}
        for key, _ in node.value:
            if isinstance(key, yaml.ScalarNode):
                first = lines.get((key.tag, key.value))
                if first is not None:
                    raise yaml.constructor.ConstructorError(
                        problem=f"{key.value!r} stands twice, first on line {first}", problem_mark=key.start_mark
                    )
                lines[key.tag, key.value] = key.start_mark.line + 1
        return super().construct_mapping(node, deep)


class AsJson(Once):
    """Reads a date as the text that it is in JSON."""


AsJson.yaml_implicit_resolvers = {
    first: [resolver for resolver in resolvers if resolver[0] != "tag:yaml.org,2002:timestamp"]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}
