"""Networks whose result has a structure by construction: conserved energies, Lyapunov functions."""
