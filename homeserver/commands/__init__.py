"""One module per subcommand of `postroom`. Each is imported only when it is called for."""
