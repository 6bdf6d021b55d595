"""A model as people want to see it: with its shapes, counts and costs."""
