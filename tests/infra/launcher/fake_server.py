# Copyright 2026 The areal authors
# SPDX-License-Identifier: Apache-2.0
"""A server as the supervisor sees one: writes its ready file and stays. Run as a script; imports no areal."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path


def main() -> None:
    ready_file, behaviour = Path(sys.argv[1]), sys.argv[2]
    print("fake server starts", behaviour, flush=True)
    if behaviour == "crash":
        raise OSError(98, "Address already in use")
    if behaviour == "never_ready":
        time.sleep(600)
    if behaviour == "ignore_sigterm":
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
    if behaviour == "with_child":
        subprocess.Popen([sys.executable, "-S", "-c", "import time; time.sleep(600)"], start_new_session=True)
    # the port only has to be different at every start: nobody connects
    temporary = ready_file.with_suffix(".part")
    temporary.write_text(json.dumps({"host": "127.0.0.1", "port": 10_000 + os.getpid() % 50_000, "pid": os.getpid()}))
    temporary.rename(ready_file)
    time.sleep(600)


if __name__ == "__main__":
    main()
