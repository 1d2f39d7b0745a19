"""Does a phone's code for the activity tell who carries it, or of which gender?

Question: the journal paper's second task on the data that it names, MotionSense
(24 people, a phone in the front pocket), with the network that its authors
publish.  Four activities as they have them; windows do not overlap.

Command: python launch/run.py --config=configs/motion_sense.py
  --config.data.path=<folder> --workdir=runs/motion_sense
  (the folder holds data_subjects_info.csv and A_DeviceMotion_data/)

Measured: not run, as the data were not to be had; `tiny` was run on a made-up
folder of the published layout.
"""

from configs import default, sisfall_activity


def get_config(variant: str = "full"):
  """Return the experiment in one of its sizes: full, small, tiny."""
  default.check_variant(variant)
  c = sisfall_activity.get_config("full")
  c.name = "Activity against identity and gender on MotionSense"
  c.data = {
    "source": "motion_sense",
    "path": "",
    "desired": "activity",
    "private": "person,gender",
    "unforeseen": "age",
    "activities": ("dws", "ups", "wlk", "jog"),
    "bins": {"age": (29,)},
    "window_s": 1.0,
    "overlap": 0.0,
    "max_samples": 0,
  }
  c.input_shape = (50, 12)
  c.network = {
    "function": "motion_sense.motion_sense",
    "width": 0.2 if variant == "tiny" else 1.0,
    "dtype": c.network.dtype,
  }
  c.cut = "pool2"
  if variant == "small":
    c.partition.cap = 200
    c.audit.rotations = 3
  if variant == "tiny":
    default.make_tiny(c)
  return c
