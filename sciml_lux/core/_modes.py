"""What a fit tells the adapters inside the loss that it traces.

Each is a JAX user context: part of the key of every compilation cache, so that a function compiled under one setting is never
reused under another.
"""

import jax

differentiation_mode = jax.make_user_context("reverse")
"""How an adapter's solution will be differentiated: `"reverse"` (gradients; default) or `"forward"` (Jacobians, column by column)."""

failure_mode = jax.make_user_context("raise")
"""What an adapter whose solve failed does: `"raise"` an error (the default), or return `"nan"` and say in its state why."""
