"""The compiled updates of a run, without the loop around them and its events."""

from __future__ import annotations

from typing import Any

import jax

from research.training.setup import Setup


def advanced(setup: Setup, carry: Any, step: int, updates: int) -> Any:
    """The carry, of update ``step``, after so many more updates, which are waited for; gives ``carry`` away."""
    assert setup.feed is not None
    end = step + updates
    while step < end:
        window = setup.feed.window(step)
        count = min(end - step, window.left)
        carry = setup.program.advance(carry, window, count)
        step += count
    return jax.block_until_ready(carry)
