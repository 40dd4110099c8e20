"""The documentation lists what there is."""
import json
import os
import re
import subprocess

import pytest

from harness import agents
from harness.http_client import request
from harness.nodes import ROOT, build_dir


def read(*parts):
    with open(os.path.join(ROOT, *parts), encoding="utf-8") as f:
        return f.read()


def documents():
    return ["README.md"] + [f"docs/{n}" for n in sorted(os.listdir(os.path.join(ROOT, "docs"))) if n.endswith(".md")] + [f"docker/{n}" for n in os.listdir(os.path.join(ROOT, "docker")) if n.endswith(".md")]


def table_rows(text):
    """Rows of all Markdown tables, as lists of cells."""
    return [[cell.strip() for cell in line.strip("| ").split(" | ")] for line in text.splitlines() if line.startswith("|")]


@pytest.mark.parametrize("program", ["errand-api", "errand-runner"])
def test_every_option_is_listed_with_its_default_and_meaning(program):
    shown = subprocess.run([os.path.join(build_dir(), program), "--help"], stdout=subprocess.PIPE, text=True, check=True).stdout
    options = re.findall(r"^  (?:--([a-z-]+), )?(ERRAND_[A-Z_]+)(?:, (ERRAND_[A-Z_]+_FILE))?\n        (.*)$", shown, re.M)
    assert len(options) > 10
    rows = {row[1].split(",")[0].strip("`"): row for row in table_rows(read("docs", "operations.md")) if len(row) == 5}
    for flag, name, file, line in options:
        if name == "ERRAND_CONFIG":  # the file itself
            continue
        row = rows[name]
        meaning, default = re.fullmatch(r"(.*?)(?: \[((?:(?! \[).)*)\])?", line).groups()
        assert row[0] == (f"`--{flag}`" if flag else "–") and (file == "") == ("…_FILE" not in row[1]), row
        assert row[2] in ("both", program.removeprefix("errand-")), row
        assert (row[4], row[3].strip("`")) == (meaning, default or ""), row


def test_every_option_of_the_docs_exists():
    shown = "".join(subprocess.run([os.path.join(build_dir(), p), "--help"], stdout=subprocess.PIPE, text=True, check=True).stdout for p in ("errand-api", "errand-runner", "errand"))
    known = set(re.findall(r"ERRAND_[A-Z_]+", shown)) | {"ERRAND_CONFIG", "ERRAND_URL", "ERRAND_KEY"}
    agents = set(re.findall(r"`(ERRAND_[A-Z_]+)`", read("docs", "agents.md"))) | set(re.findall(r"ERRAND_[A-Z_]+", read("docker", "compose.yml")))
    for name in documents():
        for option in set(re.findall(r"\bERRAND_[A-Z_]*[A-Z]\b", read(name))):
            assert option in known | agents or option.replace("_FILE", "") in known or option.startswith("ERRAND_TEST"), f"{name}: {option}"


def test_every_error_code_is_listed_with_its_status():
    codes = re.findall(r'X\(ERR_\w+, "(\w+)", (\d+), (true|false),\s+"([^"]+)"\)', read("common", "err.h").replace("\\\n", " "))
    assert len(codes) == len(re.findall(r" X\(ERR_", read("common", "err.h"))) > 40
    inner = {"ok", "schema_unchecked", "incarnation_dead", "stale_claim", "io_error", "config", "canceled", "schema_unchecked"}  # never in an answer
    wanted = {(f"`{code}`", status, "yes" if retry == "true" else "", sentence) for code, status, retry, sentence in codes if code not in inner}
    assert {tuple(row) for row in table_rows(read("docs", "api.md")) if len(row) == 4 and row[1].isdigit()} == wanted


def test_every_limit_is_listed_with_its_value():
    shown = subprocess.run([os.path.join(build_dir(), "errand"), "limits", "--json"], stdout=subprocess.PIPE, text=True, check=True).stdout
    limits = {row["name"]: row["value"] for row in map(json.loads, shown.splitlines())}
    table = re.findall(r'X\((LIMIT_\w+), (\d+), "(\w*)",\s+"([^"]+)"', read("common", "limits.h").replace("\\\n", " "))
    assert {name: int(value) for name, value, _, _ in table} == limits and len(limits) > 30
    rows = {tuple(row) for row in table_rows(read("docs", "api.md").split("\n## Limits\n")[1].split("\n## ")[0])[2:]}
    assert rows == {(what, f"{value} {unit}".strip()) for _, value, unit, what in table}


def test_every_metric_is_listed_with_its_type(api):
    exposed = request(api.port, "GET", "/metrics").body.decode()
    metrics = {(f"`{name}`", kind, text) for name, text, kind in re.findall(r"^# HELP (errand_\w+) (.*)\n# TYPE \1 (\w+)$", exposed, re.M) if name != "errand_build_info"}
    listed = {tuple(row) for row in table_rows(read("docs", "operations.md")) if row[0].startswith("`errand_") and len(row) == 3}
    assert len(metrics) > 10 and listed == metrics


def test_every_route_is_listed_and_described(api):
    table = re.findall(r'^    \{(GET|POST|PUT|DELETE), "([^"]+)",[^}]*?(NULL, NULL|"\w+",\s+"[^"]+")\},$', read("api", "routes.c"), re.M | re.S)
    assert len(table) == len(re.findall(r"^    \{(?:GET|POST|PUT|DELETE),", read("api", "routes.c"), re.M)) > 25
    text = read("docs", "api.md").split("\n## Submitting")[0]
    described = {(method.upper(), path) for path, item in request(api.port, "GET", "/openapi.json").json()["paths"].items() for method in item if method != "parameters"}
    assert described == {(method, path) for method, path, identity in table if identity != "NULL, NULL"}
    for method, path, identity in table:
        if identity == "NULL, NULL":
            assert f"`{path}`" in text or f"`{method} {path}`" in text, path
        else:  # `PUT GET DELETE /v1/agents/{name}`, `GET /healthz` · `/readyz`
            assert re.search(rf"`(?:[A-Z ]*\b{method}\b[A-Z ]* )?{re.escape(path)}`", text), (method, path)


def fields_of(source, table):
    """The names in a table of fields: {"name", take_name, …}."""
    rows = re.search(rf"static const struct field {table}\[\] = \{{(.*?)\n\}};", read("api", source), re.S).group(1)
    return set(re.findall(r'^    \{"(\w+)",', rows, re.M))


def test_the_description_has_every_field_of_a_definition(api):
    """And no other one; nor do the docs leave one out."""
    schemas = request(api.port, "GET", "/openapi.json").json()["components"]["schemas"]
    definition = schemas["AgentDefinition"]["properties"]
    assert set(definition) == fields_of("validate_definition.c", "definition_fields") and len(definition) > 40
    assert set(schemas["Resources"]["properties"]) == fields_of("validate_execution.c", "resource_fields")
    assert set(definition["pool"]["properties"]) == fields_of("validate_execution.c", "pool_fields")
    kinds = re.search(r"\} kinds\[\] = \{(.*?)\n\};", read("api", "validate_execution.c"), re.S).group(1)
    assert definition["executor"]["enum"] == re.findall(r'^    \{"(\w+)",', kinds, re.M)
    rows = table_rows(read("docs", "agents.md").split("\n## Definition\n")[1].split("\n## ")[0])
    named = [name for row in rows for name in re.findall(r"`(\w+)`", row[0])]
    assert sorted(named) == sorted(definition), "each once"


def test_records_have_what_the_description_says(api, runner):
    """Every member that a record, an attempt of it, or a runner has is described, with its type."""
    schemas = request(api.port, "GET", "/openapi.json").json()["components"]["schemas"]
    types = {"string": str, "integer": int, "number": (int, float), "boolean": bool, "array": list, "object": dict, "null": type(None)}

    def check(value, schema, at):
        schema = schemas[schema["$ref"].rsplit("/", 1)[1]] if "$ref" in schema else schema
        if "type" in schema:
            words = schema["type"] if isinstance(schema["type"], list) else [schema["type"]]
            assert any(isinstance(value, types[w]) for w in words), (at, value)
        assert "enum" not in schema or value in schema["enum"], (at, value)
        if isinstance(value, dict) and "properties" in schema and at[-1] != "handle":
            assert set(schema.get("required", ())) <= set(value) <= set(schema["properties"]), (at, set(value) - set(schema["properties"]))
            for name, member in value.items():
                check(member, schema["properties"][name], [*at, name])
        for i, item in enumerate(value if isinstance(value, list) else ()):
            check(item, schema.get("items", {}), [*at, i])

    fine = api.wait(api.submit(agents.shell("sleep 0.2", protocol="text", outputSchema={"type": "null"}, executor="process")))
    check(fine, {"$ref": "#/Run"}, ["run"])
    assert fine["schemaWarnings"] and fine["attempts"][0]["handle"], fine
    check(api.get("/v1/runners").json(), {"$ref": "#/RunnerList"}, ["runners"])
    refused = api.post("/v1/runs", {"agent": agents.shell("true", inputSchema={"required": ["x"]}), "input": {}})
    assert refused.code == "input_invalid"
    check(refused.json(), {"$ref": "#/Problem"}, ["problem"])
    definition = {"executor": "pool", "command": ["true"], "pool": {"base": "process", "max": 2}, "resources": {"cpus": 0.5, "memoryMb": 64}, "requiresCapabilities": ["timeout"], "llmSettings": {"perModel": {"a/b": {}}}}
    check(definition, {"$ref": "#/AgentDefinition"}, ["definition"])
    assert api.request("PUT", "/v1/agents/described", definition).status == 201


def test_every_route_of_the_docs_exists():
    served = set(re.findall(r'\{(?:GET|POST|PUT|DELETE), "([^"]+)"', read("api", "routes.c")))
    for name in documents():
        for path in re.findall(r"`(?:(?:GET|POST|PUT|DELETE) )+(/[^`? ]*)", read(name)):
            assert path in served, f"{name}: {path}"


def test_the_commands_of_the_docs_exist():
    errand = os.path.join(build_dir(), "errand")
    known = set(re.findall(r"^  ([a-z]+) ", subprocess.run([errand, "--help"], stdout=subprocess.PIPE, text=True, check=True).stdout, re.M))
    shown_of_dev = subprocess.run([os.path.join(ROOT, "dev"), "help"], stdout=subprocess.PIPE, text=True, check=True).stdout
    found = 0
    for name in documents():
        for program, word in re.findall(r"(?:^|[`\s])(?:build/)?(errand|\./dev) ([a-z]+)", "\n".join(code_of(read(name)))):
            found += 1
            if program == "errand":
                assert word in known, f"{name}: errand {word}"
            else:
                assert re.search(rf"(?:^|\s){word}\b", shown_of_dev), f"{name}: ./dev {word}"
    assert found > 10


def test_the_flags_of_the_docs_exist():
    errand = os.path.join(build_dir(), "errand")
    for name in documents():
        for line in code_of(read(name)):
            called = re.search(r"(?:^|[\s])(?:build/)?errand ([a-z]+)\b([^|;#]*)", line)
            if called and "--" in called.group(2):
                shown = subprocess.run([errand, called.group(1), "--help"], stdout=subprocess.PIPE, text=True, check=True).stdout
                assert not [f for f in re.findall(r"--[a-z-]+", called.group(2)) if not re.search(rf"{f}\b", shown)], f"{name}: {line}"


def code_of(text):
    """What stands as code: the lines of fenced blocks, and what is in `backquotes`."""
    blocks = re.findall(r"^```[a-z]*\n(.*?)^```$", text, re.M | re.S)
    rest = re.sub(r"^```[a-z]*\n.*?^```$", "", text, flags=re.M | re.S)
    return [line for block in blocks for line in block.splitlines()] + re.findall(r"`([^`\n]+)`", rest)


def anchors(text):
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in re.findall(r"^#+ (.*)$", text, re.M)}


def test_links_lead_somewhere():
    links = 0
    for name in documents():
        for target, anchor in re.findall(r"\]\(([^)#\s]*)(?:#([^)\s]*))?\)", read(name)):
            if re.match(r"[a-z]+:", target):
                continue
            links += 1
            path = os.path.join(os.path.dirname(name), target) if target else name
            assert os.path.exists(os.path.join(ROOT, path)), f"{name}: {target}"
            assert not anchor or anchor in anchors(read(path)), f"{name}: {target}#{anchor}"
    assert links > 5


def test_every_script_is_in_the_architecture():
    text = read("docs", "architecture.md")
    scripts = [n[:-4] for n in os.listdir(os.path.join(ROOT, "lua")) if n.endswith(".lua")]
    assert len(scripts) > 15 and not [s for s in scripts if f"`{s}`" not in text]


def test_every_field_of_a_definition_is_in_one_table():
    """Each with one row, and no row of a field that is none."""
    table = re.search(r"struct field definition_fields\[\] = \{(.*?)^\};", read("api", "validate_definition.c"), re.M | re.S).group(1)
    fields = re.findall(r'^    \{"(\w+)",', table, re.M)
    section = read("docs", "agents.md").split("\n## Definition\n")[1].split("\n## ")[0]
    rows = [name for line in section.splitlines() if line.startswith("| `") for name in re.findall(r"`(\w+)`", line.split(" | ")[0])]
    assert len(fields) > 40 and sorted(rows) == sorted(fields)


def test_the_executors_have_a_section_each():
    table = re.search(r"\} kinds\[\] = \{(.*?)^\};", read("api", "validate_execution.c"), re.M | re.S).group(1)
    names = re.findall(r'^    \{"(\w+)",', table, re.M)
    titles = re.findall(r"^## .*`(\w+)`$", read("docs", "agents.md"), re.M)
    assert len(names) == 8 and sorted(titles) == sorted(names)


def test_every_part_of_the_agents_page_is_in_its_contents():
    text = read("docs", "agents.md")
    contents = text.split("\n## ", 1)[0]
    wanted = {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in re.findall(r"^## (.*)$", text, re.M)}
    assert len(wanted) > 15 and set(re.findall(r"\(#([^)]*)\)", contents)) == wanted
