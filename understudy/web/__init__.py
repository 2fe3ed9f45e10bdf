"""Pages on this machine only: the loopback server, review and compare."""
