"""The collector: beacons in over HTTP, checked records out to Redis, a GIF back once they are on disk."""
