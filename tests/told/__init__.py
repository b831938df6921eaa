"""`make told`: revelation as a process under load, killed, and with its destination away; every match is told once."""
