"""What would make an audit say less than it seems to is refused at once."""

import pytest

from configs import default
from hybridpriv import study


@pytest.mark.parametrize(
  "changes, message",
  [
    ({"inputs": (0, 10)}, r"config.audit.inputs has \[0\]"),
    ({"inputs": (1,)}, r"config.audit.inputs has \[1\]"),
    ({"dfil": -1}, r"config.audit.dfil has \[-1\]"),
    ({"means": (1,)}, r"config.audit.means has \[1\]"),
    (
      {"means": (2,)},
      r"means is \(2,\), and of config.audit.query_attacks none",
    ),
    (
      {"saturation": {"shares": (1.0, 0.5), "widths": ()}},
      r"config.audit.saturation.shares has \[1.0\]",
    ),
    (
      {"saturation": {"shares": (), "widths": (0,)}},
      r"config.audit.saturation.widths has \[0\]",
    ),
  ],
)
def test_numbers_that_ask_nothing(
  of_signals, quiet, tmp_path, changes, message
):
  with pytest.raises(ValueError, match=message):
    study.run(of_signals(audit=changes), tmp_path, say=quiet)
  assert not (tmp_path / "checkpoints").exists()


def test_a_workdir_of_an_earlier_version_is_still_read(of_signals, tmp_path):
  config = of_signals()
  for name in ("means", "dfil"):
    del config["audit"][name]
  assert study.prepare(config, tmp_path).config is config


def test_a_defence_that_reads_an_unforeseen_label(of_signals, quiet, tmp_path):
  config = of_signals(data={"unforeseen": "person", "private": "answer"})
  config["objective"]["hide"] = {
    "function": "siamese.reversed_contrastive",
    "inputs": {"feature": "feature", "labels": "labels/person"},
    "weight": 0.0,
    "margin": 1.0,
  }
  with pytest.raises(ValueError, match="hide reads labels/person, which"):
    study.run(config, tmp_path, say=quiet)


def test_a_reference_that_is_defended(of_signals, quiet, tmp_path):
  config = of_signals()
  config["trainings"]["siamese"] = {"siamese": {"weight": 1.0}}
  config["privatizers"] = default.in_order(
    {
      "identity": {"chain": (), "trainings": ("siamese",)},
      "noise": config["privatizers"]["noise"],
    }
  ).to_dict()
  with pytest.raises(ValueError, match="first row is 'simple/noise sigma"):
    study.run(config, tmp_path, say=quiet)


def test_noise_in_the_loop_without_a_training_that_tells_its_cost(
  of_signals, quiet, tmp_path
):
  config = of_signals()
  config["trainings"]["noisy"] = {
    "siamese": {"weight": 1.0},
    "privatizer": "noise sigma=0.5",
  }
  with pytest.raises(ValueError, match="no training before it has that"):
    study.run(config, tmp_path, say=quiet)


def test_augmentation_of_what_is_stored(of_signals, quiet, tmp_path):
  config = of_signals(train={"finetune": {"start": "pool1"}})
  config["train"]["finetune"]["augment"] = "jitter"
  with pytest.raises(
    ValueError, match="finetune has augment='jitter' and start='pool1': stored"
  ):
    study.run(config, tmp_path, say=quiet)
  assert not (tmp_path / "checkpoints").exists()
