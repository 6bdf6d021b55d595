"""Convolutions, pooling and resampling over one to three spatial axes: `(..., *spatial, channels)`."""
