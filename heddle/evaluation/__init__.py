"""How well a planner plans: cases, what came of them, and whether a model is to be trusted with goals."""
