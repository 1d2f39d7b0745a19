"""What a curious cloud could make of a code, as graphs that a page can run.

For no defence, for the Siamese feature where a study has one, and for what
ships: a network that restores the picture, and one that names the person among
those that were audited.  They learn as the audit's attackers do, from pictures
of task-train people and a gallery of the audited, with noise drawn afresh.
They are small, and one of each: the audit has stronger ones.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from hybridpriv import build
from hybridpriv.attacks import attack as attack_lib
from hybridpriv.attacks import attribute, inversion
from hybridpriv.audit import problems
from hybridpriv.deploy import export
from hybridpriv.privatizers import privatizer as privatizer_lib
from hybridpriv.study import auditing, fitting, granting, halves, training
from hybridpriv.study.setup import Setup, key
from hybridpriv.train import state as state_lib

_STEPS = 1500  # of the decoder, where the study says none
OUTPUTS = ("picture", "scores")


class Graph(NamedTuple):
  """One attacker of each kind, behind one defence.

  Attributes:
    name: of its file.
    title: of the defence.
    takes: "sample", a raw one: the client half is in the graph; or "code", as
      it is sent.
    half: to a picture [1, s, s, c], 0 to 1, and scores [1, n].
    people: whom the scores are for.
  """

  name: str
  title: str
  takes: str
  half: export.Half
  people: tuple[str, ...]

  @property
  def file(self) -> str:
    """Its name in a bundle."""
    return f"demo/{self.name}.onnx"


def make(
  setup: Setup, chosen: halves.Chosen, say: Callable[[str], None]
) -> list[Graph]:
  """Train the attackers of all defences that are shown.

  Args:
    setup: the study.
    chosen: what ships, of the first trained network.
    say: told one line for each.

  Raises:
    ValueError: the samples are no images, nobody is to be identified, or
      another trained network ships.
  """
  asked = [
    p
    for p in auditing.list_problems(setup)
    if p.kind == "identity" and "(" not in p.target
  ]
  if setup.data.kind != "image" or not asked or chosen.seed:
    raise ValueError(
      "--demo shows pictures and names: it needs images, the person among the"
      " private labels, and --seed=0"
    )
  rows = build.rows(setup.config)
  shown = {}
  if not rows[0].privatizer.stages:
    shown["none"] = ("no defence", rows[0])
  for row in rows:
    if row.training == "siamese" and not row.privatizer.stages:
      shown["siamese"] = ("Siamese feature", row)
  shown["full"] = ("as it is sent", chosen.row)
  # The page gives them one code; attackers of averages would not be its like.
  options = {**setup.config["audit"]["inversion"], "queries": 1}
  audit = {**setup.config["audit"], "inversion": options}
  setup = setup._replace(config={**setup.config, "audit": audit})
  samples = granting.choose(setup, asked[0])
  found = []
  for name, (title, row) in shown.items():
    say(f"demo: attacking {row.name} ...")
    found.append(_graph(setup, asked[0], samples, name, title, row))
  return found


def _graph(
  setup: Setup,
  problem: problems.Problem,
  samples: granting.Chosen,
  name: str,
  title: str,
  row: build.Row,
) -> Graph:
  """Train both attackers of one defence, and join them with the client."""
  trial = training.chosen(setup)[0][row.training]["chosen"]
  system = fitting.load_system(setup, 0, 0, trial)
  law = fitting.read_law(setup, 0, 0, row)
  root = key(setup, 0, 0, f"demo {row.name}")
  options = setup.config["audit"]["inversion"]
  attack = inversion.decoder(
    steps=options["steps"] or _STEPS, width=options["width"]
  )
  knowledge, _ = granting.of_row(setup, row, 0, samples)
  artist = attack.fit(
    state_lib.stream(root, "picture"), knowledge.granting(attack.needs)
  )
  score, namer = _namer(setup, problem, system, row, law, root)
  encode, given = halves.client(system, row.privatizer, law)
  is_sent = row.privatizer.is_random
  given = {"artist": artist, "namer": namer} | ({} if is_sent else given)

  def run(given: Any, x: jax.Array) -> tuple[jax.Array, jax.Array]:
    code = x if is_sent else encode(given, x)
    picture = inversion.decode(given["artist"], code)
    return jnp.clip(picture, 0, 1), score(given["namer"], code)

  inputs = setup.data.inputs
  shape, dtype = inputs.shape[1:], inputs.dtype
  if is_sent:
    shape, dtype = knowledge.received.shape[1:], np.dtype(np.float32)
  names = setup.data.classes[str(setup.data.identity)]
  return Graph(
    name,
    title,
    "code" if is_sent else "sample",
    export.Half(run, given, shape, dtype),
    tuple(names[i] for i in _people(setup, problem)),
  )


def _people(setup: Setup, problem: problems.Problem) -> np.ndarray:
  """Give the person of each class of a problem."""
  person = setup.data.person[setup.folds[problem.fold].audit]
  return np.asarray(
    [person[problem.label == c][0] for c in range(problem.num_classes)]
  )


def _namer(
  setup: Setup,
  problem: problems.Problem,
  system: fitting.System,
  row: build.Row,
  law: Any,
  root: jax.Array,
) -> tuple[Callable[[Any, jax.Array], jax.Array], Any]:
  """Train who names the person, tuned on the attacker's validation.

  Returns:
    (attacker, codes [b, ...]) -> scores [b, n], and the attacker.
  """
  own = [
    np.flatnonzero((problem.role == role) & (problem.label >= 0))
    for role in (problems.TRAIN, problems.VALIDATION)
  ]
  places = np.concatenate(own)
  prefix, suffix = privatizer_lib.split_random(row.privatizer)
  before, after = privatizer_lib.split_state(row.privatizer, law)
  feature = system.features(setup.folds[problem.fold].audit[places])
  clean = prefix.encode(before, root, jnp.asarray(feature))
  victim = attack_lib.Victim(
    codes=clean[None],
    law=jax.tree.map(lambda x: jnp.asarray(x)[None], after),
    which=jnp.zeros([], jnp.int32),
    rows=jnp.arange(len(places)),
    noise=suffix,
  )
  auxiliary = attack_lib.Auxiliary(
    jnp.asarray(problem.label[places]),
    jnp.ones(len(own[0])),
    jnp.ones(len(own[1])),
    problem.num_classes,
  )
  attack = attribute.mlp()
  fit = jax.jit(attack.fit)
  held_out = auxiliary.validation_index
  sent = victim.sample(state_lib.stream(root, "asked"), held_out)

  def worth(attacker: Any) -> float:
    right = attack.score(attacker, sent).argmax(-1) == auxiliary.label[held_out]
    return float(jnp.sum(right * auxiliary.validation_weights))

  tried = [
    fit(state_lib.stream(root, "name"), victim, auxiliary, dict(knobs))
    for knobs in attack.grid
  ]
  return attack.score, max(tried, key=worth)


def describe(graphs: list[Graph]) -> list[dict[str, Any]]:
  """Say in a manifest what the graphs are."""
  return [
    {
      "file": g.file,
      "title": g.title,
      "takes": g.takes,
      "outputs": list(OUTPUTS),
      "people": list(g.people),
    }
    for g in graphs
  ]
