"""A chat server of OpenAI's kind on this machine, which answers as it is told."""

import json
import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.server.requests.append((self.path, dict(self.headers), json.loads(body)))
        turn = min(len(self.server.requests), len(self.server.turns)) - 1
        try:
            self.server.turns[turn](self)
        except OSError:
            self.server.hung_up.set()
        self.close_connection = True

    def log_message(self, *_):
        pass

    def reply(self, status, content, kind="application/json", **headers):
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(content)))
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        self.wfile.write(content)

    def stream(self, events, *, done=True):
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream; charset=utf-8")
        self.end_headers()
        for event in events:
            text = event if isinstance(event, str) else "data: " + json.dumps(event) + "\n\n"
            self.wfile.write(text.encode())
            self.wfile.flush()
        if done:
            self.wfile.write(b"data: [DONE]\n\n")


def delta(content=None, finish=None, **more):
    return {"choices": [{"delta": {"content": content, **more}, "finish_reason": finish}]}


def streaming(text, finish="stop"):
    """A turn that sends a text in pieces of four characters."""
    pieces = [delta(text[at : at + 4]) for at in range(0, len(text), 4)]
    return lambda handler: handler.stream(
        [delta(role="assistant"), ": alive\n\n", *pieces, delta(None, finish)]
    )


@contextmanager
def serving(*turns):
    """The server, with its `address`; each request gets the next turn, the last one stays."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    server.turns, server.requests, server.hung_up = turns, [], threading.Event()
    server.address = f"http://127.0.0.1:{server.server_port}/v1"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
