"""Print every OSC message from gradmidi, and notes with the names of their voices.

Run `pip install python-osc`, then `python receive.py 9000`, then in another terminal
`gradmidi demo --osc 127.0.0.1:9000`.
"""

import contextlib
import sys

from pythonosc.dispatcher import Dispatcher
from pythonosc.osc_server import BlockingOSCUDPServer

names = {}


def show(address, *values):
    """Print a message."""
    print(address, *values, flush=True)


def voice(address, index, name, channel, layers):
    """Store the name of a voice, and print the message."""
    names[index] = name
    show(address, index, name, channel, layers)


def note(address, index, pitch, seconds, velocity, norm):
    """Print the start or the end of a note."""
    what = "on " if velocity else "off"
    print(what, names.get(index, index), f"pitch {pitch:.2f} norm {norm:.4g}", flush=True)


dispatcher = Dispatcher()
dispatcher.map("/gradmidi/voice", voice)
dispatcher.map("/gradmidi/note", note)
dispatcher.map("/gradmidi/alive", lambda *_: None)
dispatcher.set_default_handler(show)

port = int(sys.argv[1]) if len(sys.argv) > 1 else 9000
server = BlockingOSCUDPServer(("127.0.0.1", port), dispatcher)
print("listening on", port, flush=True)
with contextlib.suppress(KeyboardInterrupt):
    server.serve_forever()
