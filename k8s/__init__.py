"""Manifests for KubeRay, and the checks that they pass."""
