"""Takes the guarantee's cost out of an arms that `tests.cost` starts: no ledger, and any Redis will do."""

from oceanus import scripts, spool

_BEGIN, _END = "local hour = KEYS[3]", "if ARGV[3] == '1' then"
assert _BEGIN in scripts.PUSH
assert _END in scripts.PUSH
scripts.PUSH = scripts.PUSH[: scripts.PUSH.index(_BEGIN)] + scripts.PUSH[scripts.PUSH.index(_END) :]
spool.NEEDED = {}
