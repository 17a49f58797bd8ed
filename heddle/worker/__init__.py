"""Runs macros."""
