"""A page of another site, which a real browser shows, and everything that such a page can send."""

from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread

PAGE = b"<!doctype html><title>A page of another site</title><body></body>"
ATTACK = """
async ([target, body]) => {
    const read = {};
    const url = path => target + path;
    const settle = async (name, promise) => {
        try {
            const response = await Promise.race([promise, new Promise((_, no) => setTimeout(no, 3000))]);
            read[name] = response && response.type !== 'opaque' ? String(await response.text()).slice(0, 200) : '';
        } catch { read[name] = ''; }
    };
    const post = (path, options) => fetch(url(path), {method: 'POST', ...options});
    for (const path of ['/v1/predict', '/v1/predict/batch', '/v1/hold', '/v1/release', '/login', '/logout']) {
        await settle('text ' + path, post(path, {mode: 'no-cors', body: 'x'}));
        await settle('blob ' + path, post(path, {mode: 'no-cors', body: new Blob([body])}));
        await settle('json ' + path, post(path, {body, headers: {'Content-Type': 'application/json'}}));
        await settle('form ' + path, post(path, {mode: 'no-cors', body: new URLSearchParams({features: body})}));
        await settle('parts ' + path, post(path, {mode: 'no-cors', body: new FormData()}));
        await settle('cookies ' + path, post(path, {mode: 'no-cors', credentials: 'include', body}));
        await settle('put ' + path, fetch(url(path), {method: 'PUT', body}));
        navigator.sendBeacon(url(path), new Blob([body]));
        fetch(url(path), {method: 'POST', mode: 'no-cors', keepalive: true, body}).catch(() => 0);
    }
    for (const path of ['/', '/v1/state', '/v1/incidents', '/v1/windows', '/metrics', '/openapi.json', '/docs']) {
        await settle('get ' + path, fetch(url(path)));
        await settle('opaque ' + path, fetch(url(path), {mode: 'no-cors'}));
        for (const [tag, key] of [['img', 'src'], ['script', 'src'], ['iframe', 'src'], ['video', 'src'],
                                  ['link', 'href'], ['object', 'data'], ['embed', 'src']]) {
            const element = document.createElement(tag);
            if (tag === 'link') element.rel = 'stylesheet';
            element[key] = url(path);
            document.body.append(element);
        }
    }
    for (const encoding of ['text/plain', 'application/x-www-form-urlencoded', 'multipart/form-data']) {
        const frame = document.createElement('iframe');
        frame.name = 'frame ' + encoding;
        const form = document.createElement('form');
        Object.assign(form, {method: 'post', action: url('/v1/predict'), enctype: encoding, target: frame.name});
        const field = document.createElement('input');
        Object.assign(field, {name: body.slice(0, -1) + ',"x":"', value: '"}'});
        form.append(field);
        document.body.append(frame, form);
        form.submit();
    }
    new EventSource(url('/v1/state'));
    try { new WebSocket(target.replace('http', 'ws') + '/v1/predict'); } catch { /* refused is right */ }
    new Worker(URL.createObjectURL(new Blob([
        `fetch('${url('/v1/predict')}', {method: 'POST', mode: 'no-cors', body: ${JSON.stringify(body)}})`])));
    await new Promise(done => setTimeout(done, 1500));
    for (const frame of document.querySelectorAll('iframe')) {
        try { read['frame ' + frame.src] = frame.contentDocument?.body?.innerText ?? ''; }
        catch { read['frame ' + frame.src] = ''; }
    }
    return read;
}
"""
"""What the page does to a target with a body; returns what it could read, by what it tried."""


@contextmanager
def other_site() -> Iterator[tuple[int, list[str]]]:
    """A web server that is not the service; its port, and the method and path of each request that it gets."""
    requests: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        timeout = 1  # seconds for which a connection without a request stays open

        def do_GET(self) -> None:
            requests.append(f"{self.command} {self.path}")
            length = int(self.headers.get("Content-Length", 0))
            self.rfile.read(length)
            self.send_response(200)
            self.send_header("Content-Type", "text/html")
            self.send_header("Content-Length", str(len(PAGE)))
            self.end_headers()
            self.wfile.write(PAGE)

        do_POST = do_PUT = do_OPTIONS = do_GET  # noqa: N815 - the names of the base class

        def log_message(self, *_values: object) -> None:
            """Nothing."""

    class Server(ThreadingHTTPServer):
        daemon_threads = False  # all of them end before the server does

    with Server(("127.0.0.1", 0), Handler) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        yield server.server_address[1], requests
        server.shutdown()
