"""The page in a browser: what the commands show, by the same functions. On when ``[page]`` has a password."""
