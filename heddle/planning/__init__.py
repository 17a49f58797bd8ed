"""From a goal to a plan, without calling anything."""
