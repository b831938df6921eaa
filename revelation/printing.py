"""The log as a destination: a telling is one line of it.

The level is WARNING, because a rule that prints was written to be read, and that is the default of LOG_LEVEL.
"""

import logging

from revelation.telling import Message
from revelation.visible import shown

MOST = 2000

log = logging.getLogger(__name__)


class Print:
    """Writes the text of a message into the log, so that nobody can forge a line of it."""

    def tell(self, message: Message) -> None:
        """Log the text on one line of at most 2,000 characters, control characters written as escapes."""
        log.warning("%s", shown(message.text, MOST))
