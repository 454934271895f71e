"""The description that /docs shows."""

import json
import re
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from edge_api.local import types
from edge_api.problems import MEDIA_TYPE, Problem

EXPECTED = {
    ("get", "/api/accounts"): {200, 401, 403, 500, 502, 503, 504},
    ("post", "/api/accounts"): {201, 401, 403, 408, 409, 413, 415, 422, 500, 502, 503, 504},
    ("post", "/api/accounts/get-or-create"): {200, 401, 403, 408, 413, 422, 500, 502, 503, 504},
    ("get", "/api/accounts/{account_id}"): {200, 401, 403, 404, 422, 500, 502, 503, 504},
    ("patch", "/api/accounts/{account_id}"): {200, 401, 403, 404, 408, 413, 415, 422, 500, 502, 503, 504},
    ("get", "/healthz"): {200, 500},
    ("get", "/readyz"): {200, 500, 503},
}


@pytest.fixture
def description(api: httpx.Client) -> Any:
    return api.get("/openapi.json").json()


def operations(description: Any) -> Iterator[tuple[str, str, Any]]:
    for path, methods in description["paths"].items():
        for method, operation in methods.items():
            yield method, path, operation


def test_the_checked_in_description_is_the_one_that_is_served(description: Any) -> None:
    assert types.OPENAPI.read_text() == types.openapi(), "run `make types`"
    assert json.loads(types.OPENAPI.read_text()) == description


def test_the_description_does_not_depend_on_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    before = types.openapi()
    for name, value in {"EDGE_DOCS": "false", "EDGE_API_PORT": "none", "EDGE_CORS_ORIGINS": "*"}.items():
        monkeypatch.setenv(name, value)
    assert types.openapi() == before


def test_titles_are_those_of_rfc_9110_on_every_version_of_python(description: Any) -> None:
    responses = description["paths"]["/api/accounts"]["post"]["responses"]
    assert responses["413"]["description"] == "Content Too Large"
    assert responses["422"]["description"] == "Unprocessable Content"


def test_every_endpoint_lists_all_its_responses(description: Any) -> None:
    listed = {
        (method, path): {int(status) for status in operation["responses"]}
        for method, path, operation in operations(description)
    }
    assert listed == EXPECTED


def test_every_error_response_is_a_problem_with_examples_that_fit(description: Any) -> None:
    checked = 0
    for _, _, operation in operations(description):
        for status, response in operation["responses"].items():
            if int(status) < 400:
                continue
            assert list(response["content"]) == [MEDIA_TYPE]
            schema = description["components"]["schemas"][
                response["content"][MEDIA_TYPE]["schema"]["$ref"].rsplit("/")[-1]
            ]
            codes = schema["properties"]["code"]
            examples = response["content"][MEDIA_TYPE]["examples"]
            assert codes.get("enum", [codes.get("const")]) == list(examples)
            assert schema["properties"]["status"]["const"] == int(status)
            errors = schema["properties"].get("errors", {}).get("type")
            assert (errors, "errors" in schema["required"]) == (("array", True) if status == "422" else (None, False))
            for code, example in examples.items():
                problem = Problem.model_validate(example["value"])
                assert (problem.code, problem.status) == (code, int(status))
                assert ("errors" in example["value"]) == (status == "422")
                checked += 1
    assert checked > 40
    assert "HTTPValidationError" not in description["components"]["schemas"]


def test_every_reference_leads_somewhere(description: Any) -> None:
    def references(node: Any) -> Iterator[str]:
        if isinstance(node, dict):
            if isinstance(node.get("$ref"), str):
                yield node["$ref"]
            for value in node.values():
                yield from references(value)
        elif isinstance(node, list):
            for value in node:
                yield from references(value)

    found = set(references(description))
    assert "#/components/schemas/InvalidField" in found
    assert {reference.rpartition("/")[2] for reference in found} <= set(description["components"]["schemas"])


def test_the_bearer_scheme_is_on_the_account_endpoints_and_only_there(description: Any) -> None:
    (name, scheme), *others = description["components"]["securitySchemes"].items()
    assert (scheme["type"], scheme["scheme"], others) == ("http", "bearer", [])
    for _, path, operation in operations(description):
        assert operation.get("security") == ([{name: []}] if path.startswith("/api/") else None)


def test_the_docs_page_is_whole_without_the_internet(api: httpx.Client) -> None:
    page = api.get("/docs")
    assert page.status_code == 200
    loaded = re.findall(r'(?:src|href|url)["\']?\s*[=:]\s*["\']([^"\']+)', page.text)
    assert len(loaded) == 4  # the script, the style, the icon, the description
    for path in loaded:
        assert path.startswith("/")  # from this server, and so also without the internet
        assert api.get(path).status_code == 200
