"""What the cut of a network is, and what its weights are, without data."""

import pickle

import numpy as np
import pytest
from safetensors import numpy as safetensors

from configs.paper import gender_vgg16
from hybridpriv import build, study

RECIPE = "--config=configs/paper/gender_vgg16.py:tiny"


def test_the_stages_of_a_network_are_printed_without_data(launch):
  flags = "--config=configs/lfw_gender.py --config.network.width=1.0"
  done = launch(
    "train",
    *flags.split(),
    "--config.input_shape=(224, 224, 3)",
    "--config.network.norm=none",
    "--dry_run",
  )
  lines = {line.split()[0]: line.split() for line in done.stdout.splitlines()}
  # Known of VGG-16 with two classes on pictures of 224 x 224.
  assert lines["all"][1] == "134,268,738"
  assert lines["conv5_1"][1:4] == ["14x14x512", "100,352", "2,359,808"]
  assert lines["conv5_1"][-1] == f"{4 * 100_352:,}"
  assert done.stderr == ""


def _one_line(done):
  assert done.returncode == 2, done.stderr
  assert done.stderr.startswith("error: ") and done.stderr.count("\n") == 1
  assert done.stdout == ""
  return done.stderr


def test_a_missing_weight_file_is_one_line(launch, tmp_path):
  path = tmp_path / "none.safetensors"
  done = launch(
    "train",
    RECIPE,
    "--config.weights.function=pretrained.vgg16",
    f"--config.weights.path={path}",
    "--dry_run",
    check=False,
  )
  assert f"cannot read the weights {path}: " in _one_line(done)


def test_another_file_in_place_of_the_recognizer_is_one_line(launch, tmp_path):
  path = tmp_path / "weights.dat"
  path.write_bytes(5000 * b"\x07")
  config = tmp_path / "mine.py"
  config.write_text(
    "from configs import lfw_recognizer\n\n\n"
    "def get_config():\n"
    "  c = lfw_recognizer.get_config('tiny')\n"
    f"  c.weights.path = {str(path)!r}\n"
    "  return c\n"
  )
  done = launch("train", f"--config={config}", "--dry_run", check=False)
  assert f"{path} holds no tensor of 4736 numbers" in _one_line(done)


def _recipe(path, **settings):
  """The published recipe, small, from the weights at `path`."""
  config = gender_vgg16.get_config("tiny")
  config.network.width, config.network.norm = 1 / 16, "none"
  config.weights.function = "pretrained.vgg16"
  config.weights.path = str(path)
  config.weights.update(settings)
  return config.to_dict()


def _torch_like(config):
  """Tensors of the network of a configuration, under torchvision's names."""
  network = build.network(config, 2)
  places = iter((0, 2, 5, 7, 10, 12, 14, 17, 19, 21, 24, 26, 28))
  dense = iter((0, 3, 6))
  inputs, tensors, side = 3, {}, config["input_shape"][0] // 32
  for name in network.stage_names():
    if name.startswith("conv"):
      outputs = int((64, 128, 256, 512, 512)[int(name[4]) - 1] / 16)
      layer, shape = f"features.{next(places)}", (outputs, inputs, 3, 3)
    elif name.startswith("fc"):
      inputs = inputs * side**2 if name == "fc6" else inputs
      outputs = 2 if name == "fc8" else 4096 // 16
      layer, shape = f"classifier.{next(dense)}", (outputs, inputs)
    else:
      continue
    tensors[f"{layer}.weight"] = np.ones(shape, "f4")
    tensors[f"{layer}.bias"] = np.ones(outputs, "f4")
    inputs = outputs
  return tensors


def test_the_report_of_published_weights_is_printed(tmp_path):
  path = tmp_path / "weights.safetensors"
  safetensors.save_file(_torch_like(_recipe(path)), path)
  *_, last = study.describe(_recipe(path, channels="rgb"), 2).splitlines()
  assert last.startswith("weights: 30 tensors matched; 2 missing: fc8/dense")
  assert "published for" not in last
  # The recipe's own order is that of Caffe's files.
  *_, last = study.describe(_recipe(path), 2).splitlines()
  assert (
    "names such as features.0.weight were published for RGB, and"
    ' channels="bgr" was given'
  ) in last


@pytest.mark.parametrize(
  "change, message",
  [
    (lambda content: content[:-100], "cut short or no safetensors"),
    (lambda content: content[:5], "neither safetensors nor npz"),
    (lambda content: pickle.dumps({"features.0.weight": 1}), "Pickles and"),
    (
      lambda content: safetensors.save({"encoder.weight": np.ones(3, "f4")}),
      "names such as encoder.weight are not known; expected features.0.weight",
    ),
  ],
)
def test_a_wrong_weight_file_is_refused_without_data(tmp_path, change, message):
  path = tmp_path / "weights.safetensors"
  content = safetensors.save(_torch_like(_recipe(path)))
  path.write_bytes(change(content))
  with pytest.raises(ValueError, match=message) as error:
    study.describe(_recipe(path), 2)
  assert str(path) in str(error.value) and "\n" not in str(error.value)
