"""Values: frozen, keyword-only dataclasses that are JAX pytrees whose leaves are their numeric hyperparameters."""

from research.spec.checks import check
from research.spec.fields import Static, field
from research.spec.parse import parse_override
from research.spec.paths import apply_overrides, describe, diff, replace
from research.spec.text import fingerprint, from_json, to_json
from research.spec.values import Spec, registered_specs

__all__ = [
    "Spec",
    "Static",
    "apply_overrides",
    "check",
    "describe",
    "diff",
    "field",
    "fingerprint",
    "from_json",
    "parse_override",
    "registered_specs",
    "replace",
    "to_json",
]
