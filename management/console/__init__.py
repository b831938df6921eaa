"""The console: an operator's live page, a process of its own, which reads Redis and the warehouse."""
