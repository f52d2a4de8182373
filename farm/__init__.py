"""The farm: manifests of clips are planned, encoded, rendered and committed. Pure Python outside `farm.workers`."""
