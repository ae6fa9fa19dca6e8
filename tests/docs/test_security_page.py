"""The threat model states what the attack suite measures and what the settings have."""

import re
import shutil
import subprocess
from pathlib import Path

from stillsafe.serving.body import json_body
from stillsafe.settings_sections import Serving
from tests.attack import poisoning, test_poisoning

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "security.md").read_text(encoding="utf-8")
NGINX = (ROOT / "examples" / "nginx" / "stillsafe.conf").read_text(encoding="utf-8")


def test_the_page_names_limits_that_exist() -> None:
    """The settings and numbers of what one client can take."""
    section = PAGE.partition("## What one client can take")[2].partition("\n## ")[0]
    names = set(re.findall(r"`((?:max|head|idle)_\w+)`", section))
    assert {"max_head_bytes", "max_connections", "max_body_bytes", "idle_seconds"} <= names <= set(Serving.model_fields)
    assert f"{json_body.MOST_SECONDS:.0f} seconds, {json_body.DEEPEST} levels" in section


def test_the_page_has_the_setting_of_the_measurement() -> None:
    """Rows and runs are those of the simulation, and the harmless share is the one that the short form asserts."""
    assert f"{poisoning.HONEST_ROWS // 10} honest rows a minute ({poisoning.HONEST_ROWS} in each run)" in PAGE
    assert f"Rows at {test_poisoning.HARMLESS_SHARE:.0%} of the traffic or fewer" in PAGE
    assert poisoning.RUNS == 9
    assert "for nine runs" in PAGE
    assert max(poisoning.SHARES) == 16


def test_every_actor_of_the_policy_is_there() -> None:
    """The page, the policy and the README name one another."""
    for target in ("observer.md", "operations.md", "../SECURITY.md"):
        assert f"]({target})" in PAGE
    assert "docs/security.md" in (ROOT / "SECURITY.md").read_text()
    assert "docs/security.md" in (ROOT / "README.md").read_text()


def test_the_proxy_keeps_what_the_service_relies_on() -> None:
    """The Host header as it came, the client's address, one attempt, and connections shorter than the service's."""
    for directive in (
        "proxy_set_header Host $http_host;",
        "proxy_set_header X-Forwarded-For $remote_addr;",
        'proxy_set_header Forwarded "";',
        "proxy_next_upstream off;",
        "proxy_http_version 1.1;",
    ):
        assert directive in NGINX
    seconds = re.search(r"keepalive_timeout (\d+)s", NGINX)
    assert seconds is not None
    assert int(seconds[1]) < Serving().idle_seconds
    size = re.search(r"client_max_body_size (\d+)m", NGINX)
    assert size is not None
    assert int(size[1]) * 1024**2 >= Serving().max_body_bytes


def test_nginx_reads_the_configuration(tmp_path: Path) -> None:
    """Braces and semicolons are right; where nginx is installed, it says so itself."""
    code = re.sub(r"#.*", "", NGINX)
    assert code.count("{") == code.count("}")
    assert all(line.strip().endswith((";", "{", "}", "")) for line in code.splitlines())
    program = shutil.which("nginx", path="/usr/sbin:/usr/bin:/bin")
    if program is not None:
        without_files = re.sub(r"^\s*ssl_certificate\w*.*$", "", NGINX.replace("443 ssl", "8443"), flags=re.MULTILINE)
        (tmp_path / "nginx.conf").write_text(f"events {{}}\nhttp {{\n{without_files}\n}}\n")
        command = [program, "-t", "-p", str(tmp_path), "-c", "nginx.conf", "-g", "pid nginx.pid;"]
        process = subprocess.run(command, capture_output=True, text=True)
        assert process.returncode == 0, process.stderr
