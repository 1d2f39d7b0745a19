"""What every experiment starts from; each key with its unit and meaning.

Not an experiment by itself: the files beside it name data, network and cut.
A tuple where one number is expected is a grid.  Commands change any key, for
instance `--config.train.seeds=5` or `--config.privatizers.noise.sigma=(1.0,)`.
"""

from ml_collections import config_dict


def get_config() -> config_dict.ConfigDict:
  """Return the common defaults."""
  c = config_dict.ConfigDict()
  c.name = ""  # title of the report
  c.seed = 0  # of partitions and of all randomness

  # Where samples come from; further keys are options of the source.
  c.data = config_dict.ConfigDict()
  c.data.source = ""  # spar, table, tfds, synthetic_faces, or module:function
  c.data.desired = ""  # labels the service answers, comma separated
  c.data.private = ""  # labels it must not learn
  c.data.unforeseen = ""  # labels no defence knows of, attacked all the same

  c.partition = config_dict.ConfigDict()
  c.partition.folds = 0  # rotate so that every person is audited; 0 = once
  c.partition.fractions = (
    0.5,
    0.1,
    0.15,
    0.25,
  )  # train, validation, test, audit
  c.partition.min_audit = 0  # people with so many samples are audit people
  c.partition.cap = 0  # most samples of an audit person, 0 = all
  c.partition.split = ""  # column that divides the samples

  c.input_shape = ()  # what the network takes; () = what the data have
  # What inputs are centred and divided by: ("channel",) as measured on
  # task-train; for the mean also ("image",), the mean image; or numbers.
  c.input_mean = ("channel",)
  c.input_std = ("channel",)
  c.network = config_dict.ConfigDict()
  c.network.function = ""  # in hybridpriv.networks, or module:function
  # What an accelerator computes it in, also "bfloat16". Parameters, losses and
  # all that is attacked or exported stay float32, as does a processor.
  c.network.dtype = "float32"
  # Published weights to start from; further keys are options of the function.
  c.weights = config_dict.ConfigDict()
  c.weights.function = ""  # in hybridpriv.networks, such as pretrained.*
  c.cut = ""  # last stage on the device

  # For a question about pairs, such as whether two faces are of one person: the
  # outputs are an embedding of so many numbers, and lists of pairs beside the
  # data (as LFW's pairs.txt) say who is asked about.
  c.verification = config_dict.ConfigDict()
  c.verification.outputs = 0
  c.verification.test = ""
  c.verification.validation = ""

  c.objective = config_dict.ConfigDict()
  c.objective.task = config_dict.ConfigDict()
  c.objective.task.function = "classification.cross_entropy"
  c.objective.task.inputs = {
    "logits": "logits/{desired}",
    "labels": "labels/{desired}",
  }
  c.objective.task.weight = 1.0
  c.objective.siamese = config_dict.ConfigDict()
  c.objective.siamese.function = "siamese.contrastive"
  c.objective.siamese.inputs = {
    "feature": "feature",
    "labels": "labels/{desired}",
  }
  c.objective.siamese.weight = 0.0  # in units of 1 / margin^2, see margin_unit
  c.objective.siamese.margin = 1.0  # in units of the median distance
  c.monitors = config_dict.ConfigDict()  # logged, minimised by nobody
  c.monitors.pairs = config_dict.ConfigDict()
  c.monitors.pairs.function = "siamese.pair_statistics"
  c.monitors.pairs.inputs = {
    "feature": "feature",
    "labels": "labels/{desired}",
    "margin": "knobs/siamese/margin",
  }
  # Adversaries inside the fine-tuning: name -> label that it names, or size (in
  # pixels a side, or samples of a signal) of the inputs that it restores; input
  # ("feature", or "code" behind the noise), hidden (units of its layers),
  # optimizer. A term with `player` set to that name is theirs; a defender's
  # term may read "<name>/logits", or "<name>/restored" and "inputs/<size>".
  c.players = config_dict.ConfigDict()

  # Fine-tunings of the base network: knobs of the objective, grids are trials.
  # The first one is the reference of the choice (see `in_order`). Where there
  # are several desired labels, a knob is that of the term for each of them.
  # Beside knobs, `privatizer` is that of train.privatizer for one training.
  c.trainings = config_dict.ConfigDict(sort_keys=False)
  c.trainings.simple = {"siamese": {"weight": 0.0}}
  c.trainings.siamese = {
    "siamese": {"weight": (1.0, 10.0, 100.0, 1000.0), "margin": (1.0,)}
  }

  # Folder of decoded pictures and stored features; "" for one in the workdir.
  c.features = ""
  c.train = config_dict.ConfigDict()
  c.train.seeds = 3  # trainings from scratch that differ in the seed only
  c.train.batch_size = 64
  c.train.balance = True  # every class of the first desired label alike
  c.train.groups = ""  # a label: fine-tune on pairs of samples that share it
  c.train.tolerance = 0.01  # balanced utility that a trial may cost
  c.train.margin_unit = "median"  # of the base network's distances; or "raw"
  # Between the halves in fine-tuning, with fresh noise at every step: an entry
  # of privatizers with a value for each of its grids, as "noise sigma=0.5".
  c.train.privatizer = ""
  c.train.retune_cloud = False  # tune the cloud half on decoded codes
  # The most trainings in one program, which take memory at once; 0 = all of
  # those that share a step on an accelerator, one by one on a CPU.
  c.train.replicas = 0
  c.train.log_every = 50  # steps
  c.train.evaluate_every = 500  # steps
  c.train.checkpoint_every = 500  # steps
  c.train.tensorboard = False
  for phase, steps, rate in (
    ("base", 1000, 1e-3),
    ("finetune", 400, 3e-4),
    ("retune", 300, 3e-4),
  ):
    c.train[phase] = config_dict.ConfigDict()
    c.train[phase].steps = steps
    c.train[phase].optimizer = {
      "name": "adam",
      "learning_rate": rate,
      "schedule": "cosine",
      "warmup_steps": 0,
      "momentum": 0.9,  # of sgd
      "weight_decay": 0.0,  # of adamw and sgd
      "clip_norm": 0.0,  # of the gradient, 0 = none
      "multipliers": config_dict.ConfigDict(),  # {path pattern: factor}
    }
    if phase != "retune":
      # photo, crop_mirror, jitter, mod:fn; not behind a frozen prefix.
      c.train[phase].augment = ""
  # Frozen up to here, and read from stored features; in the base training only
  # what published weights brought.
  c.train.base.start = ""
  c.train.finetune.start = ""

  # What is done to features; the first one is the undefended reference. Grids
  # run from weak to strong. An entry may name the `trainings` it goes with.
  c.privatizers = config_dict.ConfigDict(sort_keys=False)
  c.privatizers.identity = {"chain": ()}
  c.privatizers.project = {"chain": ("project.pca",), "k": 8}
  c.privatizers.noise = {
    "chain": ("project.pca", "noise.isotropic"),
    "k": 8,
    "sigma": (0.1, 0.25, 0.5, 0.75, 1.0, 1.5, 2.0, 3.0),  # weak to strong
    "relative": True,  # in units of the code's RMS standard deviation
  }

  c.audit = config_dict.ConfigDict()
  c.audit.attack_seeds = 5
  c.audit.rotations = 5  # divisions of the people for an attribute, at most
  c.audit.draws = 4  # codes sent for every sample when scored
  c.audit.max_cost = 0.05  # balanced utility an operating point may cost
  c.audit.queries = (10, 100)  # codes of one input that an attacker averages
  c.audit.inputs = (10,)  # inputs of one person, likewise, where it has them
  # The same in front of the attacks below: they learn from means of so many
  # inputs of a person. Dearer, and not for likelihood.bayes.
  c.audit.means = ()
  # Who gets several codes: "family.<entry>" of the attacks, whichever.
  c.audit.query_attacks = ("likelihood.bayes",)
  # Audit samples of each fold whose codes' sensitivity is averaged (dFIL); 0
  # for none. Each takes a pass back through the client for every value.
  c.audit.dfil = 16
  # A label: attackers are also asked who have samples of its most common class
  # only, about samples of the others.
  c.audit.shift = ""
  # Perceptrons (attribute.mlp) on the operating points with so much of the
  # attacker's data, and so wide: does more of either find more? () for none.
  c.audit.saturation = config_dict.ConfigDict()
  c.audit.saturation.shares = ()
  c.audit.saturation.widths = ()
  c.audit.attacks = config_dict.ConfigDict()
  c.audit.attacks.linear = {"function": "attribute.linear"}
  c.audit.attacks.mlp = {"function": "attribute.mlp"}
  c.audit.attacks.nearest = {"function": "neighbour.nearest"}
  c.audit.attacks.centroid = {"function": "neighbour.centroid"}
  c.audit.attacks.bayes = {"function": "likelihood.bayes"}
  c.audit.attacks.fisher = {"function": "discriminant.linear"}
  c.audit.attacks.shrunk = {"function": "discriminant.shrinkage"}
  # The paper's adversary, the rest of a recognition network behind the client,
  # on the undefended, projected and noisy operating rows; 0 steps for none.
  c.audit.transfer = config_dict.ConfigDict()
  c.audit.transfer.steps = 0
  c.audit.transfer.batch_size = 64
  c.audit.transfer.learning_rate = (3e-4, 3e-3)
  c.audit.transfer.evaluate_every = 50  # steps; the best look is kept
  c.audit.transfer.patience = 3  # looks without a better one, then it stops
  c.audit.transfer.train_seeds = 1  # how many of the trained networks
  # Attacks that restore pictures, on the same rows, and on the first fold and
  # trained network only; 0 steps for none.
  c.audit.inversion = config_dict.ConfigDict()
  c.audit.inversion.steps = 0  # of every network that an attacker trains
  c.audit.inversion.size = 64  # pixels a side
  c.audit.inversion.width = 0.25  # factor on the channels of the published one
  c.audit.inversion.max_images = 4000  # that they learn from
  c.audit.inversion.max_held_out = 0  # that they are chosen by, 0 = all
  c.audit.inversion.max_attacked = 0  # 0 = all
  c.audit.inversion.queries = 1  # codes of one input that they average
  # Others: descent.pixels, prior.eigenfaces, prior.vae, surrogate.shadow and
  # surrogate.aligned; an entry may set knobs of its own, also steps and width.
  c.audit.inversion.attacks = config_dict.ConfigDict()
  c.audit.inversion.attacks.decoder = {"function": "inversion.decoder"}
  c.audit.inversion.attacks.ridge = {"function": "ridge.linear"}
  c.audit.floor_attacks = config_dict.ConfigDict()
  c.audit.floor_attacks.linear = {"function": "attribute.linear"}
  c.audit.floor_attacks.mlp = {"function": "attribute.mlp"}
  c.audit.floor_attacks.centroid = {"function": "neighbour.centroid"}
  # Of the raw inputs, whose attackers these are too.
  c.audit.floor_attacks.shrunk = {"function": "discriminant.shrinkage"}
  return c


def check_variant(variant: str) -> None:
  """Stop at a misspelt variant instead of running the full experiment."""
  known = ("full", "small", "tiny")
  if variant not in known:
    raise ValueError(
      f"variant {variant!r} is not known; known are {', '.join(known)}, as in"
      " configs/<file>.py:tiny"
    )


def in_order(entries: dict) -> config_dict.ConfigDict:
  """Make a section that keeps the order of its entries, not the alphabet's."""
  section = config_dict.ConfigDict(sort_keys=False)
  section.update(entries)
  return section


def make_tiny(c: config_dict.ConfigDict) -> None:
  """Shrink an experiment to seconds: for tests, never for numbers."""
  c.train.seeds = 1
  c.train.base.steps = 20
  c.train.finetune.steps = 10
  c.train.retune.steps = 10
  c.train.log_every = 5
  c.train.checkpoint_every = 10
  c.train.evaluate_every = 10
  c.trainings.siamese.siamese.weight = (1.0, 100.0)
  c.privatizers.noise.sigma = (0.5, 2.0)
  c.audit.attack_seeds = 2
  c.audit.rotations = 3
  c.audit.draws = 2
  c.audit.queries = (10,)
  c.audit.dfil = 2
  c.audit.transfer.steps = min(c.audit.transfer.steps, 10)
  c.audit.transfer.evaluate_every = 10
  c.audit.inversion.steps = min(c.audit.inversion.steps, 10)
  c.audit.inversion.size = 32
  # Compiling is most of the work here: one attack of each family.
  for name in ("mlp", "centroid", "fisher", "shrunk"):
    del c.audit.attacks[name]
  c.audit.attacks.linear = {"function": "attribute.linear", "max_steps": 50}
  c.audit.floor_attacks = {"nearest": {"function": "neighbour.nearest"}}
