"""A service that is told of jobs: a real HTTP server that answers as a test says and keeps what came."""

import http.server
import json
import threading
import time


class Receiver:
    """Answers the n-th call by the n-th of `answers`, (status, headers) or seconds to wait before 204; then by 204."""

    def __init__(self, *answers):
        self.answers = list(answers)
        self.calls = []
        owner = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_POST(self):
                body = self.rfile.read(int(self.headers["content-length"]))
                owner.calls.append((dict(self.headers.items()), body, time.monotonic()))
                status, headers = owner.answer()
                self.send_response(status)
                for name, value in headers.items():
                    self.send_header(name, value)
                self.end_headers()

            def log_message(self, *_):
                pass

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self.port = self.server.server_address[1]
        self.url = f"http://127.0.0.1:{self.port}/hook?from=traind"
        self.thread = threading.Thread(target=self.server.serve_forever, args=(0.05,), daemon=True)
        self.thread.start()

    def answer(self):
        answer = self.answers.pop(0) if self.answers else (204, {})
        if isinstance(answer, int | float):
            time.sleep(answer)
            return 204, {}
        return answer

    def messages(self):
        return [json.loads(body) for _, body, _ in self.calls]

    def close(self):
        self.server.shutdown()
        self.server.server_close()
        self.thread.join()
