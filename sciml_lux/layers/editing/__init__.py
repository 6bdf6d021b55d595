"""Walking over a model and changing a part of it."""
