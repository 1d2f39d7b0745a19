"""Sources of data: each module has one function `load` that gives a `DataSet`.

| module | what it reads |
| --- | --- |
| `spar` | SPAR smartwatch exercises, shipped in the PyPI package `seglearn` |
| `table` | a folder with `labels.csv` and images or signals |
| `tfds` | any TensorFlow Datasets data set with an image |
| `synthetic_faces` | drawn faces, made up from a seed |

Every `load` takes the keywords `desired`, `private` and `unforeseen` (the names
of labels by role) and options of its own. Modules are imported by those who use
them, so that a source asks only for its own libraries.
"""
