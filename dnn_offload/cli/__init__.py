"""The command line `dnn-offload`; one module per subcommand."""
