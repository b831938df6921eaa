"""One plain machine: what management/machine/ holds, run as docs/one-machine.md says."""
