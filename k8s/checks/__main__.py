"""`python -m k8s.checks OVERLAY... [--crds FOLDER]`: names every fault of each. Ends with 1 where there is one."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from farm.errors import UsageError
from k8s.checks.checking import faults_of
from k8s.checks.crds import full_schemas
from k8s.checks.policies.references import made_before
from k8s.checks.rendering import rendered


def main() -> int:
    """See the module."""
    parser = argparse.ArgumentParser(prog="python -m k8s.checks", description=__doc__)
    parser.add_argument("overlays", nargs="+", type=Path, help="folders with a kustomization")
    parser.add_argument("--crds", type=Path, help="KubeRay's config/crd/bases, for fields that the overlays here lack")
    asked = parser.parse_args()
    try:
        schemas = None if asked.crds is None else full_schemas(asked.crds)
        found = {overlay: rendered(overlay) for overlay in asked.overlays}
    except UsageError as error:
        sys.stderr.write(f"{error}\n")
        return 2
    is_good = True
    for overlay, objects in found.items():
        faults = faults_of(objects, schemas=schemas)
        is_good = is_good and not faults
        needed = [f"needs the secret {name} ({', '.join(sorted(keys))})" for name, keys in made_before(objects).items()]
        lines = [f"  {line}" for line in (faults or needed)]
        sys.stdout.write("\n".join([f"{overlay}: {len(objects)} objects, {len(faults)} faults", *lines]) + "\n")
    return 0 if is_good else 1


if __name__ == "__main__":
    sys.exit(main())
