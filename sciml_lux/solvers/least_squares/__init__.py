"""Least-squares solvers, for `optimistix.least_squares`."""

from ._levenberg_marquardt import LevenbergMarquardt as LevenbergMarquardt
