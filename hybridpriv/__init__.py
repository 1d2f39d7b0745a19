"""Cut a network between device and cloud, make its features private, attack.

The packages follow the flow: `networks` are cut, `privatizers` strip the
feature, `losses`, `data` and `train` make both, `attacks` and `audit` measure
what still leaks, `study` runs the whole. Nothing is imported here, so that the
parts without JAX (data, reports) stay quick to load.
"""

__version__ = "0.1.0"
