"""One function per long subcommand: composes the packages below, so that `cli` only parses and prints."""
