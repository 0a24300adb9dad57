"""One file a destination; this is where the network and other people's files begin."""
