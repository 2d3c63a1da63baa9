"""``python -m gradmidi``: the command line."""

from gradmidi.cli import main

main()
