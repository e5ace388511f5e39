"""Helpers of the benchmarks, and benchmarks of single parts."""
