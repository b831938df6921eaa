"""Tests of revelation."""
