"""From a finished study to a phone and a server that talk.

`wire` and `client` run on the device and need neither JAX nor this package's
other parts.
"""
