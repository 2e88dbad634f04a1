"""When a silent connection is asked whether its other end is still there.

A session that waits for a long ALTER says nothing for hours. Firewalls and load balancers forget such a connection
after minutes, and the system by itself asks only after two hours: until then the worker would wait for an answer that
can't come any more.
"""

from __future__ import annotations

IDLE_S, EVERY_S, TIMES = 60, 15, 4
"""Asked after so many seconds of silence, then so often, and taken for lost after so many times without an answer."""
