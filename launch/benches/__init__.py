"""Benches: each file here is a command of `launch/bench.py`.

It offers one function, `run(quick) -> [measure.Row]`.
"""
