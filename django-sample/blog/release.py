"""Which release this process serves: given by the deployer, empty on a desk."""

import os

RELEASE = os.environ.get("NUAGES_RELEASE", "").strip()
IMAGE_DIGEST = os.environ.get("NUAGES_IMAGE_DIGEST", "").strip()


def short_digest(digest):
    """The first twelve characters of a digest: enough to tell two images apart by eye."""
    return digest.removeprefix("sha256:")[:12]


def as_dict():
    """The parts that are known, for the probes and the log."""
    known = {"release": RELEASE, "image": IMAGE_DIGEST}
    return {name: value for name, value in known.items() if value}
