"""``python -m gradmidi``: the command line."""

from gradmidi.cli.app import main

main()
