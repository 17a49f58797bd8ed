"""The distillation gate: finds what is done again and again outside macros, and proposes macros for it."""
