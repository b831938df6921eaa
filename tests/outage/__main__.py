"""`make outage`: RECORDS (5,000,000) arrive while BigQuery is away; exit 1 unless all land once, in flat memory."""

import asyncio
import os
import shutil
import sys
import tempfile
from pathlib import Path

from tests.outage.outage import Outage


def main() -> int:
    """Run, print, judge."""
    count = int(os.environ.get("RECORDS") or 5_000_000)
    folder = Path(tempfile.mkdtemp(prefix="oceanus-outage-"))
    print(f"outage: {count:,} records", flush=True)
    outcome = asyncio.run(Outage(folder, count, lambda line: print(line, flush=True)).run())
    print(outcome.line())
    if outcome.is_good:
        shutil.rmtree(folder)
        return 0
    print(f"logs: {folder}", file=sys.stderr)
    return 1


if __name__ == "__main__":
    sys.exit(main())
