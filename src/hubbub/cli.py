"""Temporary."""

import sys

from hubbub.server import *
from hubbub.settings import Settings


def main():
    port = int(sys.argv[sys.argv.index("--port") + 1]) if "--port" in sys.argv else 8000
    s = Settings(port=port)
    check_exposure(s)
    l = listen(s.host, s.port)
    print(f"http://{s.host}:{l.getsockname()[1]}/")
    Server(build_app(s), s, l).serve_forever()
