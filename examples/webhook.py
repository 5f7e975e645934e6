"""An agent in Python: a service that answers with an event stream. SECRET=… PORT=… python3 webhook.py"""
import base64, hashlib, hmac, json, os, time
from http.server import BaseHTTPRequestHandler, HTTPServer

class Agent(BaseHTTPRequestHandler):
    def do_POST(self):
        body = self.rfile.read(int(self.headers["content-length"]))
        stamp = self.headers["webhook-timestamp"]
        signed = f'{self.headers["webhook-id"]}.{stamp}.'.encode() + body
        tag = hmac.digest(os.environ["SECRET"].encode(), signed, hashlib.sha256)
        if not hmac.compare_digest("v1," + base64.b64encode(tag).decode(), self.headers["webhook-signature"]) or abs(time.time() - int(stamp)) > 300:
            return self.send_error(401)
        self.send_response(200)
        self.send_header("content-type", "text/event-stream")
        self.end_headers()
        for word in ("You", " said: ", json.loads(body)["message"]["content"]):
            self.wfile.write(b"data: " + json.dumps({"content": word}).encode() + b"\n\n")
        self.wfile.write(b"data: [DONE]\n\n")

HTTPServer(("127.0.0.1", int(os.environ["PORT"])), Agent).serve_forever()
