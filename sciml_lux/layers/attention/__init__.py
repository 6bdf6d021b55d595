"""Attention over a sequence of tokens: `(..., length, features)`."""
