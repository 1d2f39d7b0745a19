"""Measures defences under attack and draws up the report.

`statistics` turns scores into values and intervals (NumPy only), `results`
holds the checked records of the public format, `card` writes the report of one
workdir, `compare` that of several, `figures` draws the pictures.
"""
