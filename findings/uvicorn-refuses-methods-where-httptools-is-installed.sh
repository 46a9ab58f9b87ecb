#!/usr/bin/env bash
# Whether an application behind uvicorn sees a request depends on a package that it does not import. A method is any token
# (RFC 9110, 9.1). With h11, uvicorn hands a request with a method of one's own to the application, which answers as it likes
# (405 with a body of its own, a log line, a metric). Once httptools is in the environment, for whatever reason, uvicorn prefers it
# without a word, and httptools knows a fixed list of methods: the client gets a plain "400 Invalid HTTP request received.", and
# neither the application nor its middleware hears of it.
#
# Guess before it was run: the parser is a matter of speed; both hand every well-formed request on.
# Seen with uvicorn 0.54.0, h11 0.16.0, httptools 0.9.0: FLY is answered 405 by the application, then 400 by uvicorn; GET and PURGE
# reach the application both times. `http="h11"` (or --http h11) keeps it as it was.
set -euo pipefail
work="$(mktemp -d)"
trap 'kill "${server:-}" 2>/dev/null || true; wait 2>/dev/null || true; rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet --disable-pip-version-check uvicorn==0.54.0 h11==0.16.0
cat >"$work/app.py" <<'PY'
async def app(scope, receive, send):
    status = 200 if scope["method"] in ("GET", "PURGE") else 405
    await send({"type": "http.response.start", "status": status, "headers": [(b"x-answered-by", b"the application")]})
    await send({"type": "http.response.body", "body": b"application"})
PY
port="$(python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])')"
answers() {
  "$work/venv/bin/python" -m uvicorn --app-dir "$work" app:app --port "$port" --log-level error --lifespan off >"$work/log" 2>&1 &
  server=$!
  "$work/venv/bin/python" - "$port" "$1" <<'PY'
import http.client, sys, time
end, found = time.monotonic() + 60, []
for method in ("GET", "PURGE", "FLY"):
    while True:
        connection = http.client.HTTPConnection("127.0.0.1", int(sys.argv[1]), timeout=30)
        try:
            connection.request(method, "/")
            answer = connection.getresponse()
            break
        except ConnectionRefusedError:
            if time.monotonic() > end:
                raise
            time.sleep(0.1)
    found.append(f"{method} {answer.status} by {answer.getheader('x-answered-by') or 'uvicorn'}")
print(f"{sys.argv[2]}: {'; '.join(found)}")
PY
  kill "$server"; wait "$server" 2>/dev/null || true
}
before="$(answers 'h11 alone')"
"$work/venv/bin/pip" install --quiet --disable-pip-version-check httptools==0.9.0
after="$(answers 'with httptools installed')"
printf '%s\n%s\n' "$before" "$after"
[ "$before" = "h11 alone: GET 200 by the application; PURGE 200 by the application; FLY 405 by the application" ]
[ "$after" = "with httptools installed: GET 200 by the application; PURGE 200 by the application; FLY 400 by uvicorn" ]
