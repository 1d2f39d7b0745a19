"""Data: sources, preprocessing, partitions of people, batches.

`sources` turns real or synthetic data into one `dataset.DataSet`; `partition`
says who trains, who chooses, who is tested and who is audited; `batches` says
which samples make up the batch of a step. NumPy and Pillow only, no JAX.
"""
