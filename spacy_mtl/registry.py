"""The registry `balancers`, for configs with `@balancers`.

    from spacy_mtl.registry import balancers

    @balancers("mine.Loudest.v1")
    class Loudest(Balancer): ...

Packages can bring theirs with entry points of the group `thinc_balancers`.
"""

from typing import Any

from spacy import registry

if not hasattr(registry, "balancers"):
    registry.create("balancers", entry_points=True)

balancers: Any = registry.balancers  # a decorator with a name: `@balancers("mine.Loudest.v1")`
