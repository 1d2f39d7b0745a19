"""What the cut of a network is, without data."""


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
