"""Layers whose call solves an equation with a state that jumps."""

from ._jump_ode import JumpODE as JumpODE
