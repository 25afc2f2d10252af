"""Settings: sources and their order, bounds, messages, and that secrets stay hidden."""

from __future__ import annotations

from pathlib import Path
from typing import Any, get_args, get_origin, get_type_hints

import msgspec
import pytest

from queuey.errors import SettingsError
from queuey.protocol.credentials import Grant
from queuey.settings.settings import SETTINGS, Settings, default, load

SECRET = "qk_very-secret-0123456789"
HASH = "ab" * 32


def refusal(
    flags: dict[str, str] | None = None, environ: dict[str, str] | None = None, config: Path | None = None
) -> str:
    with pytest.raises(SettingsError) as caught:
        load(flags or {}, environ or {}, str(config) if config else None)
    return caught.value.message


def write(path: Path, text: str) -> Path:
    path.write_text(text)
    return path


@pytest.fixture
def no_project(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A working directory outside of any project."""
    monkeypatch.chdir(tmp_path)


@pytest.mark.usefixtures("no_project")
def test_defaults_are_those_of_the_design() -> None:
    settings = load({}, {"HOME": "/home/ann"})
    expected: dict[str, Any] = {
        "host": "127.0.0.1",
        "port": 8000,
        "processes": 1,
        "roles": ("api", "worker", "reaper"),
        "redis": None,
        "data_dir": Path("/home/ann/.local/share/queuey"),
        "fsync": "always",
        "lease": 30.0,
        "renewal": 10.0,
        "max_attempts": 5,
        "job_timeout": 60.0,
        "drain_timeout": 25.0,
        "concurrency": 100,
        "retention": 3600.0,
        "finished_max": 100_000,
        "finished_max_bytes": 1_000_000_000,
        "finished_min_age": 60.0,
        "dlq_retention": 7 * 86400.0,
        "dlq_max": 100_000,
        "dlq_max_bytes": 256_000_000,
        "dedupe_ttl": 86400.0,
        "body_limit": 1_000_000,
        "payload_limit": 256_000,
        "result_limit": 256_000,
        "json_depth": 64,
        "batch_limit": 1000,
        "max_delay": 365 * 86400.0,
        "reap_interval": 5.0,
        "trim_interval": 30.0,
        "beat_interval": 5.0,
        "reap_delay_max": 5.0,
        "grace": 5.0,
        "max_starve": 300.0,
        "backoff_cap": 7200.0,
    }
    assert {name: getattr(settings, name) for name in expected} == expected


def test_the_cores_are_shared_among_the_processes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("queuey.settings.settings.cores", lambda: 8)
    assert [load({"processes": count}, {}).process_slots for count in ("1", "3", "8", "9")] == [8, 2, 1, 1]
    assert load({"processes": "3", "process_slots": "8"}, {}).process_slots == 8


def test_a_flag_wins_over_a_variable_and_a_variable_over_the_file(tmp_path: Path) -> None:
    file = write(tmp_path / "queuey.toml", 'lease = "11s"\nport = 1111\nconcurrency = 11\n')
    environ = {"QUEUEY_CONFIG": str(file), "QUEUEY_PORT": "2222", "QUEUEY_CONCURRENCY": "22"}
    settings = load({"concurrency": "33"}, environ)
    assert (settings.lease, settings.port, settings.concurrency) == (11.0, 2222, 33)


def test_the_config_flag_wins_over_the_variable(tmp_path: Path) -> None:
    chosen = write(tmp_path / "chosen.toml", "port = 1\n")
    other = write(tmp_path / "other.toml", "port = 2\n")
    assert load({}, {"QUEUEY_CONFIG": str(other)}, str(chosen)).port == 1


def test_toml_takes_numbers_text_and_lists(tmp_path: Path) -> None:
    text = """
        lease = 12.5
        retention = 90
        body_limit = "2MiB"
        queues = ["emails", "images"]
        roles = "worker,reaper"
        anonymous = ["submit", "read@emails"]
        backoff_factor = 1.5
    """
    settings = load({}, {}, str(write(tmp_path / "q.toml", text)))
    assert (settings.lease, settings.retention, settings.body_limit) == (12.5, 90.0, 2 * 1024**2)
    assert (settings.queues, settings.roles) == (("emails", "images"), ("worker", "reaper"))
    assert settings.anonymous == (Grant("submit"), Grant("read", "emails"))
    assert settings.backoff_factor == 1.5


def test_an_empty_variable_counts_as_unset() -> None:
    assert load({}, {"QUEUEY_REDIS": "", "QUEUEY_API_KEY": " "}) == load({}, {})


@pytest.mark.usefixtures("no_project")
def test_the_data_directory_follows_xdg() -> None:
    assert load({}, {"XDG_DATA_HOME": "/data"}).data_dir == Path("/data/queuey")
    relative = {"XDG_DATA_HOME": "data", "HOME": "/home/ann"}
    assert load({}, relative).data_dir == Path("/home/ann/.local/share/queuey")
    assert load({"data_dir": "here"}, {}).data_dir == Path.cwd() / "here"


@pytest.mark.parametrize(
    ("name", "text", "value"),
    [
        ("lease", "30", 30.0),
        ("lease", "500ms", 0.5),
        ("max_starve", "5m", 300.0),
        ("dedupe_ttl", "24h", 86400.0),
        ("dlq_retention", "7d", 604800.0),
        ("maxmemory", "4GiB", 4 * 1024**3),
        ("maxmemory", "auto", None),
        ("payload_limit", "256kB", 256_000),
        ("queues", "emails, images,emails", ("emails", "images")),
        ("queues", "", None),
        ("queues", "mail:10, images:02,mail:10", ("mail:10", "images:2")),
        ("redis", "redis://user:pw@db:6379/0", "redis://user:pw@db:6379/0"),
        ("redis", "rediss://db", "rediss://db"),
        ("redis", "unix:///run/valkey.sock?db=1", "unix:///run/valkey.sock?db=1"),
        ("redis", f"rediss://db/2?ssl_ca_certs={__file__}", f"rediss://db/2?ssl_ca_certs={__file__}"),
        ("redis", "rediss://db?ssl_cert_reqs=none", "rediss://db?ssl_cert_reqs=none"),
        ("app", "shop.jobs:app", "shop.jobs:app"),
        ("host", "::", "::"),
        ("port", "0", 0),
        ("fsync", "everysec", "everysec"),
        ("prefix", "a.b-c_9", "a.b-c_9"),
    ],
)
def test_a_flag_is_read(name: str, text: str, value: object) -> None:
    assert getattr(load({name: text}, {}), name) == value


@pytest.mark.parametrize(
    ("name", "text", "reason"),
    [
        ("lease", "3x", "is not a duration such as"),
        ("lease", "-1", "is not a duration"),
        ("lease", "nan", "is not a duration"),
        ("lease", "٣", "is not a duration"),
        ("lease", "100ms", "is too small. Allowed: 500ms to 1h."),
        ("lease", "2h", "is too large. Allowed: 500ms to 1h."),
        ("lease", "", "is empty"),
        ("body_limit", "1mb", "is not a size such as"),
        ("body_limit", "1000.5", "is not a whole number of bytes"),
        ("payload_limit", "1MB", "is too large. Allowed: 100B to 900kB."),
        ("max_attempts", "0", "is too small. Allowed: 1 to 1000."),
        ("max_attempts", "1" + "0" * 30, "is not a whole number"),
        ("max_attempts", "2.5", "is not a whole number"),
        ("port", "65536", "is too large"),
        ("shards", "1025", "is too large"),
        ("backoff_factor", "0.5", "is too small"),
        ("backoff_factor", "inf", "is not a number"),
        ("fsync", "sometimes", "is not one of the choices. Allowed: always, everysec, no."),
        ("roles", "", "is empty"),
        ("roles", "api,boss", "contains 'boss', which is not one of the choices"),
        ("queues", "a,b c", "contains 'b c', which is not a valid queue name"),
        ("queues", ",".join(f"q{n}" for n in range(257)), "has more than 256 items"),
        ("queues", "a,mail:0", "contains 'mail:0': its limit must be a whole number from 1 to 10000"),
        ("queues", "mail:x", "contains 'mail:x': its limit must be a whole number"),
        ("queues", "mail:", "contains 'mail:': its limit must be a whole number"),
        ("queues", "mail:-1", "contains 'mail:-1': its limit must be a whole number"),
        ("queues", "mail:10001", "contains 'mail:10001': its limit must be a whole number"),
        ("queues", "mail:1:2", "contains 'mail:1:2': its limit must be a whole number"),
        ("queues", ":5", "contains '', which is not a valid queue name"),
        ("queues", "mail:5,mail", "has the queue 'mail' twice, with different limits"),
        ("queues", "mail:5,mail:6", "has the queue 'mail' twice, with different limits"),
        ("anonymous", "submit,admin", "has the unknown scope 'admin'"),
        ("app", "thumbnails.py", "has the wrong form. Allowed: module:name"),
        ("prefix", "a{b}", "has the wrong form"),
        ("host", "http://localhost", "has the wrong form"),
        ("data_dir", "a\0b", "contains a NUL character"),
    ],
)
def test_a_value_that_cannot_be_is_refused(name: str, text: str, reason: str) -> None:
    message = refusal({name: text})
    flag = "--" + name.replace("_", "-")
    assert message.startswith(f"{flag}: '")
    assert reason in message


@pytest.mark.parametrize(
    ("url", "reason"),
    [
        (f"http://:{SECRET}@db", "does not start with redis://, rediss://, unix://"),
        (f"ann:{SECRET}@db:6379", "does not start with redis://"),
        (f"redis://:{SECRET}@", "has no host"),
        (f"redis://:{SECRET}@db:x", "has an invalid port"),
        (f"redis://:{SECRET}@db:70000", "has an invalid port"),
        (f"redis://:{SECRET}@[::1", "has an invalid port, or brackets that do not match"),
        (f"unix://?password={SECRET}", "has no path of a socket"),
        (f"redis://:12#{SECRET}@db", "has no host (in a password write / as %2F"),
        (f"redis://:a/{SECRET}@db", "has an invalid port, or brackets that do not match (in a password write"),
        (f"redis://:12/{SECRET}@db", "has no host"),
        (f"redis://db:12/{SECRET}@db", "has a path that is not the number of a database"),
        (f"redis://:{SECRET}@db/0/1", "has a path that is not the number of a database"),
        (f"redis://:{SECRET}@db/0#x", "contains a '#'"),
        (f"redis://db:12?{SECRET}=1@db", "has an unknown option after its '?'; allowed: db, username, password"),
        (
            f"redis://:{SECRET}@db?socket_timeout=1",
            "has an unknown option after its '?'; allowed: db, username, password",
        ),
        (f"redis://:{SECRET}@db?ssl_cert_reqs=none", "has an unknown option after its '?'; allowed: "),
        (f"unix:///run/valkey.sock?db=x&password={SECRET}", "has a db that is not a number"),
        (f"rediss://:{SECRET}@db?ssl_cert_reqs=maybe", "has a ssl_cert_reqs that is not required or none"),
        (f"rediss://:{SECRET}@db?ssl_ca_certs=/no/ca.pem", "has a ssl_ca_certs that is not a file on this machine"),
    ],
)
def test_a_wrong_store_url_is_refused_without_its_password(url: str, reason: str) -> None:
    message = refusal(environ={"QUEUEY_REDIS": url})
    assert message.startswith(f"QUEUEY_REDIS: the value {reason}")
    assert SECRET not in message


@pytest.mark.parametrize(
    ("environ", "reason"),
    [
        ({"QUEUEY_API_KEY": f"{SECRET} x"}, "QUEUEY_API_KEY: the value has the wrong form"),
        ({"QUEUEY_API_KEYS": SECRET}, "QUEUEY_API_KEYS: the value is not valid: entry 1 has 1 parts"),
        ({"QUEUEY_API_KEYS": f"ci:submit:{HASH},b:x:{HASH}"}, "entry 2 (b) has the unknown scope 'x'"),
        ({"QUEUEY_API_KEYS": f"ci:submit:{SECRET}"}, "entry 1 (ci) does not end in the SHA-256"),
        ({"QUEUEY_API_KEYS": f"ci:{SECRET}:{HASH}"}, "entry 1 (ci) has the unknown scope (allowed:"),
        ({"QUEUEY_API_KEYS": f"ci:read@{SECRET} x:{HASH}"}, "has an invalid queue name"),
    ],
)
def test_a_wrong_key_is_refused_without_showing_it(environ: dict[str, str], reason: str) -> None:
    message = refusal(environ=environ)
    assert reason in message
    assert SECRET not in message
    assert HASH not in message


def test_all_faults_are_reported_at_once(tmp_path: Path) -> None:
    file = write(tmp_path / "q.toml", "leese = 3\nport = true\nroles = [1, [2]]\n")
    message = refusal({"shards": "0"}, {"QUEUEY_LESE": "3"}, file)
    assert message.splitlines() == [
        f"{file}: leese: unknown key. Did you mean lease?",
        "QUEUEY_LESE: unknown variable. Did you mean QUEUEY_LEASE?",
        f"{file}: port: True is neither text nor a number. Allowed: 0 to 65535.",
        f"{file}: roles: [1, [2]] is neither text nor a number. Allowed: {SETTINGS['roles'].allowed}.",
        "--shards: '0' is too small. Allowed: 1 to 1024.",
    ]


def test_a_key_spelled_like_a_flag_is_explained(tmp_path: Path) -> None:
    file = write(tmp_path / "q.toml", "max-attempts = 3\n")
    assert refusal(config=file).endswith("Did you mean max_attempts?")


def test_an_unknown_name_like_nothing_gets_no_guess() -> None:
    assert (
        refusal(environ={"QUEUEY_XYZZY": "1"})
        == "QUEUEY_XYZZY: unknown variable. See `queuey serve --help` for the settings."
    )


def test_a_long_value_is_cut_in_the_message() -> None:
    assert len(refusal({"lease": "9" * 10_000})) < 300


def test_variables_of_kubernetes_and_of_the_binary_are_no_settings() -> None:
    environ = {
        "QUEUEY_UNPACK_DIR": "/var/cache/queuey",
        "QUEUEY_PORT": "tcp://10.0.0.1:8000",
        "QUEUEY_SERVICE_HOST": "10.0.0.1",
        "QUEUEY_SERVICE_PORT": "8000",
        "QUEUEY_SERVICE_PORT_HTTP": "8000",
        "QUEUEY_PORT_8000_TCP": "tcp://10.0.0.1:8000",
        "QUEUEY_PORT_8000_TCP_ADDR": "10.0.0.1",
        "QUEUEY_REDIS_SERVICE_HOST": "10.0.0.2",
        "QUEUEY_REDIS_PORT": "tcp://10.0.0.2:6379",
        "QUEUEY_REDIS_PORT_6379_TCP_PROTO": "tcp",
    }
    assert load({}, environ) == load({}, {})
    assert refusal(environ={"QUEUEY_PORT": "tcp"}).startswith("QUEUEY_PORT: 'tcp' is not a whole number")


@pytest.mark.parametrize(
    ("flags", "reason"),
    [
        (
            {"payload_limit": "500kB", "body_limit": "400kB"},
            "payload_limit (500kB) must not be larger than body_limit (400kB).",
        ),
        ({"backoff_base": "3h"}, "backoff_base (3h) must not be larger than backoff_cap (2h)."),
        ({"store_timeout": "2s"}, "store_timeout (2s) must not be larger than request_deadline (1.5s)."),
    ],
)
def test_settings_that_do_not_fit_each_other_are_refused(flags: dict[str, str], reason: str) -> None:
    assert refusal(flags) == reason


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (None, "cannot be read: No such file or directory."),
        (b"lease = = 3", "is not valid TOML: Invalid value (at line 1, column 9)."),
        (b"\xff", "is not UTF-8 text."),
        (b"#" * 1_000_001, "is larger than 1000000 bytes."),
        (b"a = " + b"[" * 100_000, "is not valid TOML: "),
    ],
)
def test_a_file_that_cannot_be_read_is_refused(tmp_path: Path, content: bytes | None, reason: str) -> None:
    file = tmp_path / "q.toml"
    if content is not None:
        file.write_bytes(content)
    assert refusal(config=file).startswith(f"{file}: {reason}")


def test_a_directory_is_no_file(tmp_path: Path) -> None:
    assert (
        refusal(config=tmp_path) == f"{tmp_path}: cannot be read: Is a directory. Check the path and its permissions."
    )


def test_secrets_show_nowhere() -> None:
    settings = load(
        {"redis": f"redis://ann:{SECRET}@db:6379/0?password={SECRET}"},
        {"QUEUEY_API_KEY": SECRET, "QUEUEY_API_KEYS": f"ci:submit:{HASH}"},
    )
    shown = f"{settings!r} {settings} {settings.shown()} {settings.__rich_repr__()} {settings.api_keys}"
    assert SECRET not in shown
    assert HASH not in shown
    assert "redis://***@db:6379/0" in shown


@pytest.mark.parametrize("name", list(SETTINGS))
def test_each_default_is_in_bounds_and_of_its_type(name: str) -> None:
    value = getattr(Settings(), name)
    declared = get_type_hints(Settings)[name]
    if declared is Path:
        assert isinstance(value, Path)
    else:
        assert msgspec.convert(value, declared) == value
    if value is not None and not SETTINGS[name].is_secret and value != ():
        assert SETTINGS[name].read(SETTINGS[name].show(value)) == value


@pytest.mark.parametrize("name", list(SETTINGS))
def test_a_setting_is_described_once_and_in_full(name: str) -> None:
    hint = get_type_hints(Settings, include_extras=True)[name]
    assert len(hint.__metadata__) == 1
    setting = SETTINGS[name]
    assert setting.help.endswith(".")
    assert not setting.allowed.endswith(".")
    assert default(name)


def test_choices_are_those_of_the_type() -> None:
    hints = get_type_hints(Settings)
    literals = [name for name, hint in hints.items() if hint is not None and "Literal" in str(get_origin(hint))]
    assert literals == [
        "direct",
        "ui",
        "ui_https",
        "fsync",
        "handler_loop",
        "schedules",
        "check_payloads",
        "log_level",
        "log_format",
        "log_errors",
        "log_jobs",
        "tracing",
    ]
    for name in literals:
        assert SETTINGS[name].allowed == ", ".join(get_args(hints[name]))


def test_queues_have_names_and_limits() -> None:
    settings = Settings(queues=("mail:10", "images", "fax:1"))
    assert (settings.queue_names, settings.queue_limits) == (("mail", "images", "fax"), {"mail": 10, "fax": 1})
    assert (Settings().queue_names, Settings().queue_limits) == (None, {})
