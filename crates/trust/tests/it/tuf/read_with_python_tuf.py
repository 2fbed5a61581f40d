"""Serves a repository on 127.0.0.1 and reads it with python-tuf.

Arguments: repository, a directory for python-tuf's state, target paths. Prints each path with its content in hexadecimal.
"""

import functools
import http.server
import pathlib
import sys
import threading

from tuf.ngclient import Updater


class Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *arguments):
        pass


def main():
    repository, state, *paths = sys.argv[1:]
    handler = functools.partial(Quiet, directory=repository)
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    base = f"http://127.0.0.1:{server.server_address[1]}"
    metadata, targets = pathlib.Path(state, "metadata"), pathlib.Path(state, "targets")
    for directory in (metadata, targets):
        directory.mkdir(exist_ok=True)
    updater = Updater(
        metadata_dir=str(metadata),
        metadata_base_url=f"{base}/metadata/",
        target_dir=str(targets),
        target_base_url=f"{base}/targets/",
        bootstrap=pathlib.Path(repository, "metadata", "1.root.json").read_bytes(),
    )
    updater.refresh()
    for path in paths:
        info = updater.get_targetinfo(path)
        if info is None:
            sys.exit(f"{path} is not listed")
        content = pathlib.Path(updater.download_target(info)).read_bytes()
        print(path, content.hex())


if __name__ == "__main__":
    sys.stdout.reconfigure(encoding="utf-8")
    main()
