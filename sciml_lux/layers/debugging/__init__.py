"""Finding the layer in which a number went bad."""
