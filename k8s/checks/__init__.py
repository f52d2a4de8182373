"""What manifests of the farm must hold beyond being YAML: schemas, Ray's own rules, and sums that add up.

`python -m k8s.checks OVERLAY...` checks overlays of your own. It needs the packages that tests need.
"""
