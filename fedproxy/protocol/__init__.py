"""What peers say to each other and how state may change. Pure: no sockets, files, clocks or threads."""
