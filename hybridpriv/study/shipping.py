"""From a finished study to a bundle: both halves, their manifest and price."""

import json
import pathlib
import tempfile
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from hybridpriv import build, study
from hybridpriv.deploy import bundle, export
from hybridpriv.deploy.client import manifest, sending
from hybridpriv.privatizers import privatizer as privatizer_lib
from hybridpriv.study import demonstrating, fitting, halves, price, workdir
from hybridpriv.study.setup import Setup, key
from hybridpriv.train import features

_CALIBRATED = 128  # samples of task-train that int8 is calibrated with
_RANGED = 4096  # samples of task-train whose codes say what is usual
_JUDGED = 256  # samples of task-validation that exported halves are judged by

# What an export must keep: steps of the grid, share of values, utility, answers
# that are the same.
MOST_STEPS, MOST_DIFFERENT, MOST_COST, LEAST_AGREED = 1, 0.02, 0.01, 0.95


def read(folder: pathlib.Path) -> Setup:
  """Read a study from its workdir alone.

  Raises:
    ValueError: it is no workdir, or the study is not fitted yet.
  """
  try:
    config = json.loads((folder / "config.json").read_text())["config"]
  except (OSError, ValueError, KeyError) as error:
    raise ValueError(
      f"{folder} is no workdir of a study ({error}): run launch/run.py first"
    ) from error
  if not (folder / "privatizers" / "rows.json").exists():
    raise ValueError(
      f"{folder}: nothing is fitted yet; run launch/run.py first"
    )
  setup = study.prepare(_tuples(config), folder)
  # Whatever it was trained in: phones and browsers know no other.
  return setup._replace(network=setup.network.copy(dtype="float32"))


def run(
  folder: pathlib.Path,
  out: pathlib.Path,
  *,
  row: str = "",
  seed: int = 0,
  max_queries: int = 100,
  int8: bool = True,
  tflite: bool = False,
  demo: bool = False,
  command: str = "",
  say: Callable[[str], None] = print,
) -> manifest.Manifest:
  """Export a study's halves.

  Args:
    folder: the workdir.
    out: the bundle, a folder that is not there yet.
    row: the defence; "" for that operating point with the strongest guarantee.
    seed: which of the trained networks.
    max_queries: codes that a device may send before it refuses.
    int8: also write the client half in int8.
    tflite: also write it for LiteRT.
    demo: also train attackers, and write them for the page to show.
    command: what was typed.
    say: told what was measured.

  Raises:
    ValueError: the study has nothing that ships, or what was exported does
      not do what the network does.
  """
  bundle.check(out)
  if max_queries < 1:
    raise ValueError(f"max_queries={max_queries}; expected 1 or more")
  if not folder.is_dir():
    raise ValueError(f"there is no workdir {folder}: run launch/run.py first")
  with workdir.claim(folder):
    setup = read(folder)
    chosen = halves.choose(setup, row, seed)
    say(f"{chosen.row.name}, cut after {chosen.system.cut}")
    client, cloud = halves.make(setup, halves.folded(chosen))
    trained, _ = halves.make(setup, chosen)  # what all forms are held against
    usual = _codes(trained, setup, _spread(setup.folds[0].train, _RANGED))
    with tempfile.TemporaryDirectory() as scratch:
      files = _write(setup, client, cloud, pathlib.Path(scratch), int8, tflite)
      judged = _judge(setup, chosen, trained, files, say)
      graphs = demonstrating.make(setup, chosen, say) if demo else []
      files |= _write_demo(graphs, pathlib.Path(scratch))
      budget = price.budget(setup, chosen, max_queries)
      say(price.summary(budget))
      return bundle.write(
        out,
        files,
        {
          **_describe(setup, chosen, usual),
          "budget": budget,
          "demo": demonstrating.describe(graphs),
          "export": {**judged, "command": command, **workdir.environment()},
        },
      )


def _write_demo(
  graphs: Sequence[demonstrating.Graph], scratch: pathlib.Path
) -> dict[str, bytes | pathlib.Path]:
  """Write the attackers that the page shows.

  Raises:
    ValueError: there is no room for them.
  """
  files: dict[str, bytes | pathlib.Path] = {}
  for graph in graphs:
    path = scratch / f"{graph.name}.demo.onnx"
    try:
      export.to_onnx(graph.half, path, demonstrating.OUTPUTS)
    except OSError as error:
      raise ValueError(f"{path.name} cannot be written ({error})") from error
    files[graph.file] = path
  return files


def _codes(client: export.Half, setup: Setup, index: np.ndarray) -> np.ndarray:
  run = jax.jit(client.function)
  return features.compute(
    lambda x: run(client.parameters, x), setup.data.inputs, index
  )


def _spread(index: np.ndarray, most: int) -> np.ndarray:
  """Take so many from all over: neighbours are of the same people."""
  num = min(len(index), most)
  return index[np.arange(num) * len(index) // num]


def _write(
  setup: Setup,
  client: export.Half,
  cloud: export.Half,
  scratch: pathlib.Path,
  int8: bool,
  tflite: bool,
) -> dict[str, bytes | pathlib.Path]:
  """Write all forms of both halves.

  Raises:
    ValueError: there is no room for them.
  """
  files: dict[str, bytes | pathlib.Path] = {}
  for name, half in (("client", client), ("cloud", cloud)):
    files[f"{name}.stablehlo"] = export.to_stablehlo(half)
    files[f"{name}.npz"] = export.pack(half.parameters)
  samples = setup.data.inputs[_spread(setup.folds[0].train, _CALIBRATED)]

  def fresh(name: str) -> pathlib.Path:
    files[name] = path = scratch / name
    return path

  try:
    export.to_onnx(client, fresh("client.onnx"))
    if int8:
      small = fresh("client.int8.onnx")
      export.to_int8(scratch / "client.onnx", samples, small)
    if tflite:
      export.to_tflite(client, fresh("client.tflite"))
    if tflite and int8:
      export.to_tflite(client, fresh("client.int8.tflite"), int8=True)
  except OSError as error:
    raise ValueError(
      f"the halves could not be written to {scratch} ({error}): free some"
      " space, or name another folder in the variable TMPDIR"
    ) from error
  return files


def _judge(
  setup: Setup,
  chosen: halves.Chosen,
  trained: export.Half,
  files: Mapping[str, bytes | pathlib.Path],
  say: Callable[[str], None],
) -> dict[str, Any]:
  """Hold what was exported against the network as trained, on task-validation.

  Raises:
    ValueError: they disagree by more than is allowed.
  """
  index = _spread(setup.folds[0].validation, _JUDGED)
  codes = _codes(trained, setup, index)
  answers = _answers(setup, chosen, codes)
  found: dict[str, Any] = {
    "judged_on": len(index),
    "jax": {"utility": _utility(setup, index, answers)},
  }
  say(f"JAX: utility {100 * found['jax']['utility']:.1f} %, without noise")
  noisy = _noisy(setup, chosen)
  say(f"as it is sent, with noise: {100 * noisy:.1f} %, the study's validation")
  for name, path in files.items():
    if not isinstance(path, pathlib.Path):
      continue
    run = sending.load(path)
    own = np.concatenate([run(setup.data.inputs[i][None]) for i in index])
    step = np.abs(own - codes)
    other = _answers(setup, chosen, own)
    judged = {
      "utility": _utility(setup, index, other),
      "agreed": float(np.mean([other[d] == answers[d] for d in answers])),
      "different": float(np.mean(step > 0)),
      "most_steps": float(step.max()),
      "num_bytes": path.stat().st_size,
    }
    found[name] = judged
    cost = found["jax"]["utility"] - judged["utility"]
    say(
      f"{name}: utility {100 * judged['utility']:.1f} %,"
      f" {100 * judged['agreed']:.1f} % of answers the same,"
      f" {100 * judged['different']:.1f} % of the values of a code differ, by"
      f" {judged['most_steps']:g} steps at most;"
      f" {judged['num_bytes'] / 1e6:.1f} MB"
    )
    exact = "int8" not in name
    is_off = (
      judged["most_steps"] > MOST_STEPS or judged["different"] > MOST_DIFFERENT
    )
    if (
      cost > MOST_COST or judged["agreed"] < LEAST_AGREED or (exact and is_off)
    ):
      raise ValueError(
        f"{name} does not do what the network does: {100 * cost:.1f} points of"
        f" utility less (allowed: {100 * MOST_COST:g}),"
        f" {100 * judged['agreed']:.1f} % of answers the same (expected:"
        f" {100 * LEAST_AGREED:g}), values up to {judged['most_steps']:g} steps"
        " off" + ("" if exact else "; --noint8 exports without it")
      )
  return found


def _answers(
  setup: Setup, chosen: halves.Chosen, codes: np.ndarray
) -> dict[str, np.ndarray]:
  """Give the cloud's answers to codes before the noise, by desired label."""
  chain, law = chosen.row.privatizer, chosen.law
  prefix, suffix = privatizer_lib.split_random(chain)
  _, rest = privatizer_lib.split_state(chain, law)
  own, _ = privatizer_lib.split_state(chain, law)
  feature = prefix.decode(
    own, suffix.stages[-1].decode(rest[-1], jnp.asarray(codes))
  )
  logits = fitting.answer(
    chosen.system,
    privatizer_lib.chain(),
    (),
    np.asarray(feature),
    key(setup, 0, chosen.seed, "export"),
  )
  return {d: logits[d][:, 0].argmax(-1) for d in setup.roles.desired}


def _utility(
  setup: Setup, index: np.ndarray, answers: Mapping[str, np.ndarray]
) -> float:
  """Return balanced accuracy, the mean over desired labels."""
  scores = []
  for desired, answer in answers.items():
    label = setup.data.labels[desired][index]
    right = answer == label
    classes = np.unique(label[label >= 0])
    scores.append(np.mean([right[label == c].mean() for c in classes]))
  return float(np.mean(scores))


def _noisy(setup: Setup, chosen: halves.Chosen) -> float:
  """Read what its answers are worth on task-validation, the noise on."""
  row = fitting.read_rows(setup)[chosen.row.name]
  return float(row["by_system"][chosen.seed])  # those of the first fold lead


def _describe(
  setup: Setup, chosen: halves.Chosen, usual: np.ndarray
) -> dict[str, Any]:
  """Say what goes in and comes out, and what a code looks like."""
  data, config = setup.data, setup.config
  knobs = dict(chosen.row.stages[-1][1])
  entry = {
    k: v
    for k, v in config["data"].items()
    if k in ("size", "crop", "rate_hz", "window_s") and v
  }
  shape, scale = data.inputs.shape[1:], config["data"].get("scale")
  framing = ", ".join(f"{k} {v}" for k, v in entry.items())
  return {
    "name": config["name"],
    "synthetic": data.synthetic,
    "row": chosen.row.name,
    "train_seed": chosen.seed,
    "cut": chosen.system.cut,
    "input": {
      "kind": data.kind,
      "shape": list(shape),
      "dtype": str(data.inputs.dtype),
      "framing": f"{data.name}: {framing}" if framing else data.name,
      **({"scale": _by_channel(scale, shape[-1])} if scale else {}),
    },
    "answers": {d: list(data.classes[d]) for d in setup.roles.desired},
    "utility": {"validation": _noisy(setup, chosen)},
    "code": {
      "k": usual.shape[1],
      "bits": knobs["bits"],
      "radius": chosen.proved.clip_norm,
      "sigma": chosen.proved.sigma,
      "grid": 1 / _levels(chosen.row),
      "low": usual.min(axis=0).tolist(),
      "high": usual.max(axis=0).tolist(),
    },
    "guarantee": {
      "law": chosen.proved.law,
      "unit": "one input",
      "case": "worst case over inputs and attackers",
      "assumes": (
        "the device clips, and its noise is secret and fresh; that an input was"
        " sent before is seen"
      ),
    },
  }


def _levels(row: build.Row) -> int:
  """Read how many steps of the grid the radius of the ball has."""
  return next(
    dict(knobs)["levels"]
    for name, knobs in row.stages
    if "levels" in dict(knobs)
  )


def _by_channel(scale: Any, channels: int) -> list[float]:
  """Give what the study multiplied each channel of its recordings by."""
  return np.broadcast_to(np.asarray(scale, float), channels).tolist()


def _tuples(value: Any) -> Any:
  """Turn what JSON gives back into a configuration: lists become tuples."""
  if isinstance(value, Mapping):
    return {k: _tuples(v) for k, v in value.items()}
  return tuple(map(_tuples, value)) if isinstance(value, list) else value
