"""Cells with a carry, and what runs them over a sequence."""
