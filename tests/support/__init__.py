"""What several test modules use: networks, data, files, a reference interpreter, running of commands."""
