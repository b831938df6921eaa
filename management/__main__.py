"""The door of the command `oceanus`: from its first moment Ctrl-C and SIGTERM end it without a traceback.

The commands take half a second to import; they are in `management/commands.py`.
"""

import os
import signal

INTERRUPTED = 130


def main() -> None:
    """Run the command that the arguments name. Until it runs, nothing has been done that would need an end."""
    for number in (signal.SIGINT, signal.SIGTERM):
        if signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, lambda *_: os._exit(INTERRUPTED))
    from management.commands import oceanus  # noqa: PLC0415 - late: half a second in which a signal may come

    oceanus(prog_name="oceanus")


if __name__ == "__main__":
    main()
