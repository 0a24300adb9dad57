"""What docs/several-machines.md and compose.postgres.yaml say is so."""

from __future__ import annotations

import re
import tomllib
from typing import Any

import pytest
import yaml

from connector.store.postgres import read_url
from connector.store.url import encryption
from tests.running import root

document = (root / "docs" / "several-machines.md").read_text(encoding="utf-8")
compose_text = (root / "compose.postgres.yaml").read_text(encoding="utf-8")


def test_compose_has_a_database_two_connectors_and_a_balancer_with_healthchecks_and_secrets_in_files() -> None:
    compose = yaml.safe_load(compose_text)
    services = compose["services"]
    assert services.keys() == {"connector-1", "connector-2", "caddy", "postgres"}
    for name in ("connector-1", "connector-2"):
        service = services[name]
        assert service["depends_on"] == {"postgres": {"condition": "service_healthy"}}
        assert "/readyz/receive" in service["healthcheck"]["test"][-1]
        assert service["secrets"] == ["database_url"]
        assert service["read_only"]
        assert service["cap_drop"] == ["ALL"]
        compile(service["healthcheck"]["test"][-1], "healthcheck", "exec")
        assert not any(":/data" in volume for volume in service["volumes"]), "nothing is kept beside the database"
    assert "pg_isready" in services["postgres"]["healthcheck"]["test"]
    assert services["postgres"]["environment"]["POSTGRES_PASSWORD_FILE"] == "/run/secrets/postgres_password"
    balanced = services["caddy"]["command"][-1]
    assert "reverse_proxy connector-1:8080 connector-2:8080" in balanced
    assert "health_uri /readyz/receive" in balanced
    named = {secret for service in services.values() for secret in service.get("secrets", ())}
    assert {name: value["file"] for name, value in compose["secrets"].items()} == {
        name: f"./secrets/{name}" for name in named
    }
    assert set(compose["volumes"]) == {"postgres"}


def test_what_the_comments_of_compose_say_of_the_configuration_is_right() -> None:
    for table, setting in re.findall(r"^#     \[(\w+)\] (.+)$", compose_text, re.MULTILINE):
        assert tomllib.loads(f"[{table}]\n{setting}")
    assert 'url_file = "/run/secrets/database_url"' in compose_text


def kubernetes() -> dict[str, Any]:
    (text,) = re.findall(r"```yaml kubernetes\n(.*?)```", document, re.DOTALL)
    return {each["kind"]: each for each in yaml.safe_load_all(text)}


def test_the_kubernetes_objects_have_probes_and_one_secret() -> None:
    found = kubernetes()
    assert found.keys() == {"Secret", "Deployment"}
    secret, spec = found["Secret"], found["Deployment"]["spec"]
    assert spec["replicas"] == 2
    assert spec["selector"]["matchLabels"].items() <= spec["template"]["metadata"]["labels"].items()
    pod = spec["template"]["spec"]
    (container,) = pod["containers"]
    assert container["readinessProbe"]["httpGet"]["path"] == "/readyz/receive"
    assert container["livenessProbe"]["httpGet"]["path"] == "/healthz", "a database that is away kills no process"
    assert pod["terminationGracePeriodSeconds"] > 10
    assert {mount["name"] for mount in container["volumeMounts"]} == {volume["name"] for volume in pod["volumes"]}
    assert container["envFrom"] == [{"secretRef": {"name": secret["metadata"]["name"]}}]
    folder = next(mount["mountPath"] for mount in container["volumeMounts"] if mount["name"] == "secret")
    assert f'url_file = "{folder}/database"' in document
    assert "database" in secret["stringData"]


@pytest.mark.parametrize(
    ("url", "mode"),
    [
        ("postgresql://user@db.example.com/x", "verify-full"),
        ("postgresql://user:pa%40ss@10.0.0.7:5432/x?connect_timeout=3", "verify-full"),
        ("postgresql://localhost,db2.example.com/x", "verify-full"),
        ("postgresql:///x?host=db.example.com", "verify-full"),
        ("postgresql://user@db.example.com/x?sslmode=require", "require"),
        ("postgresql://user@localhost/x", None),
        ("postgresql://user@127.0.0.1:5433/x", None),
        ("postgresql://user@[::1]:5433/x", None),
        ("postgresql:///x?host=%2Fvar%2Frun%2Fpostgresql", None),
        ("postgresql:///x", None),
    ],
)
def test_a_host_elsewhere_is_trusted_by_its_certificate_unless_the_url_says_otherwise(
    url: str, mode: str | None
) -> None:
    assert encryption(url) == mode
    sent, _ = read_url(url)
    assert ("sslmode=" in sent) == (mode is not None)
    assert f"sslmode={mode}" in sent or mode is None
