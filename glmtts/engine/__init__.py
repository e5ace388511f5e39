"""Engines. Interface, options and statistics are here; `scheduling`, `synthesis` and `runtime` build on them."""
