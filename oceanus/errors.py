"""One error tree; each class is a sentence that tells the caller what to do.

The module that calls Redis or Google turns their errors into these, so that nobody above it needs to know theirs.
"""


class OceanusError(Exception):
    """The root: catch a narrower one."""


class MisconfiguredError(OceanusError):
    """A setting or a file is wrong: do not start; each of `mistakes` is one line that names the remedy."""

    def __init__(self, mistakes: list[str]) -> None:
        super().__init__("\n".join(mistakes))
        self.mistakes = mistakes


class NotARecordError(OceanusError):
    """A text in a list is no record of ours: set it aside as a failed record."""


# --- Redis


class NewerFormatError(NotARecordError):
    """A record of a release after ours: it stays where it is, for a process of that release."""


class SpoolError(OceanusError):
    """Redis could not do it."""


class SpoolUnclearError(SpoolError):
    """No answer came: the call may have run, run later, or never; repeat the same call, or call nothing stored."""


class SpoolRefusedError(SpoolError):
    """Redis said no and changed nothing: wait, or answer that nothing is stored."""


class SpoolUnsafeError(SpoolRefusedError):
    """Redis answers, but is not set up to keep what it acknowledges: store nothing there and shout."""


class SpoolDeniedError(SpoolRefusedError):
    """Redis does not let us in, or not do this: store nothing there and shout; a person has to mend a setting."""


class WriterGoneError(SpoolError):
    """Another writer owns this claim now: forget all that is in memory and register anew."""


class ClaimChangedError(SpoolError):
    """The claim is not what the caller thinks it is: load it again before acting."""


class NotOurTurnError(SpoolError):
    """Another writer has this list to itself: ask again later."""


class SpoolForgotError(SpoolRefusedError):
    """Redis has forgotten pushes that it acknowledged before this one, which is not stored: an alarm."""


# --- BigQuery


class WarehouseError(OceanusError):
    """BigQuery could not do it."""


class WarehouseUnclearError(WarehouseError):
    """No answer, or one that says nothing about what was written: repeat the same call later, at the same offset."""


class WarehouseBusyError(WarehouseError):
    """Quota, or a service that says later: nothing was written; back off and repeat."""


class TableTroubleError(WarehouseError):
    """One table cannot take its rows now, nothing was written, and others may: set its rows aside and try later."""


class TableMissingError(TableTroubleError):
    """The table is not there: create it if it is ours to create, else wait for it."""


class RowsRefusedError(WarehouseError):
    """BigQuery named rows it will not take, and wrote none of the request: set those aside, send the others again."""

    def __init__(self, reasons: dict[int, str]) -> None:
        super().__init__(f"{len(reasons)} rows refused, the first: {next(iter(reasons.values()), '')}")
        self.reasons = reasons


class OffsetTakenError(WarehouseError):
    """Something already stands at this offset: ours, if an earlier try was unclear; else recover."""


class StreamGoneError(WarehouseError):
    """The stream is finalised, unknown, or not at this offset: recover the claim, then write to a new stream."""


class WarehouseDeniedError(WarehouseError):
    """Credentials, permission or project are wrong: a person has to act; at start, do not start."""


# --- the places that revelation tells


class TellError(OceanusError):
    """A message was not delivered."""


class TryAgainError(TellError):
    """The place is away, slow or busy: tell it again later, not before `seconds` are over where it has said so.

    `unclear`: it may have the message already, because no answer to it came; look there first where that can be done.
    """

    def __init__(self, reason: str, seconds: float | None = None, *, unclear: bool = False) -> None:
        super().__init__(reason)
        self.seconds = seconds
        self.unclear = unclear


class NotATellingError(OceanusError):
    """What another process has written is no telling of this release."""


class RefusedError(TellError):
    """It will never take this message as it is: set it aside with the reason, for a person."""
