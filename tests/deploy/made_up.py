"""A network that configurations of tests name."""

from flax import linen as nn

from hybridpriv.networks import staged


class Network(staged.Staged):
  """A convolution and a dense stage, so that it compiles in no time."""

  def stage_names(self):
    return ("inner", "outer")

  def stage(self, name, x, *, train):
    if name == "outer":
      return nn.Dense(self.num_classes, name="dense")(x)
    x = nn.relu(nn.Conv(8, (3, 3), (2, 2), name="conv")(x))
    return x.reshape(x.shape[0], -1)
