"""What stands before and beside a served service: the proxy and the scraper of `examples/`, as real processes."""

import json
import shutil
import ssl
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from time import sleep
from urllib.error import URLError
from urllib.parse import quote
from urllib.request import urlopen

from tests.ports import free_port

EXAMPLES = Path(__file__).parents[2] / "examples"
NAME = "models.example.com"
"""The public name in the examples."""
ADDRESSES = ("127.0.0.1", "127.0.0.2")
"""Where the proxy listens; the service itself is asked for under the first one alone."""
_KEY_FILE = "/etc/prometheus/stillsafe.key"
_TEMPORARY = "".join(f"{each}_temp_path {each};\n" for each in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi"))


@dataclass(frozen=True)
class Proxy:
    """A proxy that runs: the port of its HTTPS, its certificate, and the file with a line for each request."""

    port: int
    certificate: Path
    access_log: Path

    @property
    def tls(self) -> ssl.SSLContext:
        """What a client needs to trust it."""
        return ssl.create_default_context(cafile=str(self.certificate))


def program(name: str) -> str:
    """The path of a Debian package's command."""
    path = shutil.which(name, path="/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin")
    assert path is not None, f"{name} is missing: scripts/ensure-debian-packages {name}"
    return path


@contextmanager
def proxy_before(port: int, folder: Path) -> Iterator[Proxy]:
    """Debian's nginx with the configuration of `examples/nginx`, before a service on a port of loopback.

    Args:
        port: of the service.
        folder: an empty one, for all that nginx writes.
    """
    certificate, key, https = folder / "certificate.pem", folder / "certificate.key", free_port()
    names = ",".join([f"DNS:{NAME}", *(f"IP:{each}" for each in ADDRESSES)])
    options = [
        "-newkey",
        "rsa:2048",
        "-nodes",
        "-days",
        "2",
        "-subj",
        f"/CN={NAME}",
        "-addext",
        f"subjectAltName={names}",
    ]
    command = [program("openssl"), "req", "-x509", *options, "-keyout", str(key), "-out", str(certificate)]
    subprocess.run(command, check=True, capture_output=True)
    listening = " ".join(f"listen {address}:{https} ssl;" for address in ADDRESSES)
    places = {
        "listen 443 ssl;": listening,
        "server 127.0.0.1:8000;": f"server 127.0.0.1:{port};",
        f"/etc/ssl/certs/{NAME}.pem": str(certificate),
        f"/etc/ssl/private/{NAME}.key": str(key),
    }
    example = _with_places((EXAMPLES / "nginx" / "stillsafe.conf").read_text(), places)
    proxy = Proxy(https, certificate, folder / "access.log")
    with running_nginx(example, folder, f"https://{ADDRESSES[0]}:{https}/health/live", proxy.tls):
        yield proxy


@contextmanager
def running_nginx(http: str, folder: Path, address: str, tls: ssl.SSLContext | None = None) -> Iterator[None]:
    """Debian's nginx with a text in its `http { ... }`, once it answers at an address.

    Args:
        http: the text.
        folder: an empty one, for all that nginx writes.
        address: of the service behind it.
        tls: what a client needs to trust it.
    """
    text = f"access_log access.log;\n{_TEMPORARY}{http}"
    (folder / "nginx.conf").write_text(
        f"daemon off; pid nginx.pid; error_log stderr;\nevents {{}}\nhttp {{\n{text}\n}}\n"
    )
    with _child([program("nginx"), "-p", str(folder), "-c", "nginx.conf", "-e", "stderr"], folder / "nginx.log"):
        _await(address, tls)
        yield


@contextmanager
def scraper_of(proxy: Proxy, key: str, folder: Path) -> Iterator[int]:
    """Debian's Prometheus with the configuration of `examples/prometheus`; the port of its API.

    Args:
        proxy: before the service.
        key: with the scope `read`.
        folder: an empty one, for all that Prometheus writes.
    """
    port, key_file = free_port(), folder / "stillsafe.key"
    key_file.write_text(f"{key}\n")  # as the command prints it
    trust = f"scheme: https\n    scrape_interval: 1s\n    tls_config: {{ca_file: {proxy.certificate}}}"
    places = {_KEY_FILE: str(key_file), f'"{NAME}"': f'"{ADDRESSES[0]}:{proxy.port}"', "scheme: https": trust}
    example = _with_places((EXAMPLES / "prometheus" / "prometheus.yml").read_text(), places)
    (folder / "prometheus.yml").write_text(example)
    options = ["--config.file=prometheus.yml", "--storage.tsdb.path=data", f"--web.listen-address=127.0.0.1:{port}"]
    with _child([program("prometheus"), *options], folder / "prometheus.log", folder):
        _await(f"http://127.0.0.1:{port}/-/ready")
        yield port


def sample(port: int, query: str) -> float:
    """The value that a query of Prometheus has once a scrape has brought one; two minutes without are a failure."""
    for _ in range(600):
        with urlopen(f"http://127.0.0.1:{port}/api/v1/query?query={quote(query)}", timeout=20) as answer:
            results = json.load(answer)["data"]["result"]
        if results:
            return float(results[0]["value"][1])
        sleep(0.2)
    raise AssertionError(f"Prometheus has no sample of {query}")


def _with_places(text: str, places: dict[str, str]) -> str:
    """An example with the files and addresses of a test in place of its own, each of which must be there."""
    for place, local in places.items():
        assert place in text, place
        text = text.replace(place, local)
    return text


@contextmanager
def _child(command: list[str], log_file: Path, folder: Path | None = None) -> Iterator[None]:
    with log_file.open("wb") as log, subprocess.Popen(command, cwd=folder, stdout=log, stderr=log) as process:
        try:
            yield
        finally:
            process.terminate()
            process.wait(60)


def _await(address: str, tls: ssl.SSLContext | None = None) -> None:
    """Wait until something answers; two minutes are a failure."""
    for _ in range(600):
        try:
            with urlopen(address, timeout=20, context=tls):  # noqa: S310 - addresses of this file
                return
        except (URLError, ConnectionError):
            sleep(0.2)
    raise AssertionError(f"nothing answers at {address}")
