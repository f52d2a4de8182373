"""`python -m monitoring` writes the generated files; with --check it says which are out of date, and ends with 1."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from monitoring.files import HERE, generated


def main() -> int:
    """See the module."""
    parser = argparse.ArgumentParser(prog="python -m monitoring", description=__doc__)
    parser.add_argument("--check", action="store_true")
    is_check = parser.parse_args().check
    stale = [path for path, content in generated().items() if not path.exists() or path.read_text() != content]
    unknown = [path for path in sorted((HERE / "grafana").glob("*.json")) if path not in generated()]
    if not is_check:
        for path in stale:
            path.parent.mkdir(exist_ok=True)
            path.write_text(generated()[path])
        for path in unknown:
            path.unlink()
    for path in (*stale, *unknown):
        sys.stdout.write(f"{'out of date' if is_check else 'wrote'}: {path.relative_to(Path.cwd())}\n")
    return 1 if is_check and (stale or unknown) else 0


if __name__ == "__main__":
    sys.exit(main())
