"""Adversaries: what a curious cloud makes of the codes it is sent.

An attack is a function of its knobs that returns an `Attack`: a pure `fit`, a
pure `score`, and the grid of numbers that the audit tunes on the attacker's
own validation samples.  `fit` sees a `Victim` and an `Auxiliary`; the codes of
attacked samples are not within its reach.
"""
