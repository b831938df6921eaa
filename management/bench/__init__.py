"""Benches: what oceanus costs on this machine, beside the barest thing that does the same. They report, never judge.

Each runs with the shipped redis.conf (`appendfsync always`) and the ledger on. Two things are compared by turns within
one run, since a shared machine is now faster and now slower.
"""
