"""What a server may be asked for, and how much of it: every limit is a setting."""

from __future__ import annotations

import dataclasses
import json
from typing import Annotated

from pydantic import Field

from quickstudy.core.settings import Count, Size, settings

__all__ = ["Limits", "ServerSettings"]

Seconds = Annotated[float, Field(gt=0, le=86400)]
Milliseconds = Annotated[float, Field(ge=0, le=1000)]
PerSecond = Annotated[float, Field(ge=0, allow_inf_nan=False)]
Megabytes = Annotated[float, Field(gt=0, le=4096)]


@settings
class Limits:
    """How much one request, one learner and one tenant may take."""

    body: Megabytes = 16.0
    """Megabytes of a request's body."""
    memory: Megabytes = 256.0
    """Megabytes of the bodies of all requests under way."""
    image: Megabytes = 8.0
    """Megabytes of one image file."""
    megapixels: Megabytes = 25.0
    """Millions of pixels of one image, told from its head before anything is unpacked."""
    text: Size = 10_000
    """Characters of one text."""
    examples: Size = 2000
    """Examples of one learner."""
    classes: Size = 500
    """Classes of one learner."""
    inputs: Size = 256
    """Inputs of one request to predict."""
    name: Size = 100
    """Characters in the name of a learner or a class."""
    learners: Size = 100_000
    """Learners of one tenant."""
    rate: PerSecond = 0.0
    """Requests a second of one tenant, on average; 0 is no limit."""
    burst: Size = 50
    """Requests that a tenant may make at once before the rate holds."""
    waiting: Size = 256
    """Requests under way at once; further ones are asked to come again."""
    share: Annotated[float, Field(gt=0, le=1)] = 0.5
    """The part of `waiting` that one tenant may take where there are several."""
    upload: Seconds = 20.0
    """Seconds for a request's body to arrive."""
    answer: Seconds = 30.0
    """Seconds until a request is given up."""

    @property
    def body_bytes(self) -> int:
        return int(self.body * 2**20)

    @property
    def memory_bytes(self) -> int:
        return int(self.memory * 2**20)

    @property
    def image_bytes(self) -> int:
        return int(self.image * 2**20)

    @property
    def pixels(self) -> int:
        return int(self.megapixels * 1e6)


@settings
class ServerSettings:
    """What one process of a server is made of."""

    bundles: tuple[str, ...]
    """Folders of bundles, or of runs."""
    db: str = "sqlite:///learners.db"
    """Where learners live: a URL of SQLite or PostgreSQL."""
    versions: str = "versions"
    """The folder that keeps a copy of every version of a bundle that learners may still need."""
    keys: bool = False
    """Whether a request needs a key; without, everybody is one tenant."""
    hosts: tuple[str, ...] = ()
    """Names by which an open server may be addressed; empty allows any."""
    batch: Size = 64
    """Most requests in one mapped call; 1 answers one by one."""
    wait: Milliseconds = 3.0
    """Milliseconds that a request waits at most for others that are on their way."""
    cache: Megabytes = 256.0
    """Megabytes of unpacked learners kept at hand."""
    fresh: Annotated[float, Field(ge=0, le=60)] = 1.0
    """Seconds for which a learner is believed not to be changed by another server on the same SQLite file. With several
    workers, or on PostgreSQL, nothing is believed: each request looks."""
    watch: Annotated[float, Field(ge=0, le=86400)] = 2.0
    """Seconds between looks at the bundles' folders; 0 loads new versions only when asked to."""
    readapt: bool = True
    """Whether learners with kept examples follow to a new version of their model, in the background."""
    calibration: bool = True
    """Whether a run that is served without having been bundled is calibrated, so that its learners are as sure as they
    are right, and can say that an input belongs to none of their classes. It is done once, and needs the run's
    validation data."""
    workers: Size = 1
    """Processes that serve together."""
    decoders: Size = 2
    """Threads that read requests and unpack images."""
    threads: Count = 0
    """Threads for torch; 0 leaves it as it is."""
    limits: Limits = Limits()
    """How much may be asked."""

    @property
    def believed(self) -> float:
        """Seconds for which a learner is believed not to be changed by others."""
        alone = self.workers == 1 and not self.db.startswith("postgres")
        return self.fresh if alone else 0.0

    def to_json(self) -> str:
        """As text, for the processes that serve together."""
        return json.dumps(dataclasses.asdict(self))

    @staticmethod
    def from_json(text: str) -> ServerSettings:
        """What `to_json` wrote."""
        values = json.loads(text)
        return ServerSettings(**{**values, "limits": Limits(**values["limits"])})
