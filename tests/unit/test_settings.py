import os
import tomllib
from pathlib import Path

import pytest

from penstock import settings as module
from penstock.settings import MIB, Settings, SettingsError, load

SHIPPED = Path(__file__).parents[2] / "config" / "penstock.toml"


@pytest.fixture(autouse=True)
def _clean_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in os.environ:
        if name.startswith("PENSTOCK_"):
            monkeypatch.delenv(name)


def refusal(text: str | None, tmp_path: Path, **flags: dict[str, object]) -> str:
    config = None
    if text is not None:
        config = tmp_path / "penstock.toml"
        config.write_text(text)
    with pytest.raises(SettingsError) as caught:
        load(config, flags)
    message = str(caught.value)
    assert "\n" not in message
    return message


def test_defaults_are_usable_without_any_source() -> None:
    settings = load()
    assert (settings.server.host, settings.server.port) == ("127.0.0.1", 7419)
    assert settings == Settings()


def test_the_shipped_file_equals_the_defaults() -> None:
    assert load(SHIPPED) == Settings()


def test_the_shipped_file_names_every_key() -> None:
    shipped = {section: set(values) for section, values in tomllib.loads(SHIPPED.read_text()).items()}
    defaults = {section: set(values) for section, values in Settings().model_dump().items()}
    assert shipped == defaults


def test_flags_win_over_environment_over_file_over_defaults(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = tmp_path / "penstock.toml"
    config.write_text('[server]\nport = 1\nhost = "file"\nconnections_max = 7\n')
    monkeypatch.setenv("PENSTOCK_SERVER__PORT", "2")
    monkeypatch.setenv("PENSTOCK_SERVER__HOST", "environment")
    server = load(config, {"server": {"port": 3}}).server
    assert (server.port, server.host, server.connections_max, server.heartbeat_ms) == (3, "environment", 7, 10_000)


def test_building_settings_directly_reads_no_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PENSTOCK_SERVER__PORT", "2")
    assert Settings().server.port == 7419


def test_sizes_are_read_as_numbers_and_as_text(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PENSTOCK_LIMITS__BODY_BYTES_MAX", "2 MiB")
    monkeypatch.setenv("PENSTOCK_STORAGE__SEGMENT_BYTES", "2097152")
    settings = load()
    assert settings.limits.body_bytes_max == settings.storage.segment_bytes == 2 * MIB


def test_an_unknown_key_is_refused_by_name_with_a_hint(tmp_path: Path) -> None:
    message = refusal("[server]\nprot = 1\n", tmp_path)
    assert "unknown setting server.prot" in message
    assert "penstock.toml" in message
    assert "did you mean server.port?" in message


def test_an_unknown_section_is_refused_by_name(tmp_path: Path) -> None:
    assert "unknown setting servers" in refusal("[servers]\nport = 1\n", tmp_path)


def test_a_key_outside_any_section_is_refused_by_name(tmp_path: Path) -> None:
    assert "unknown setting port" in refusal("port = 1\n", tmp_path)


@pytest.mark.parametrize("name", ["PENSTOCK_SERVER__PROT", "PENSTOCK_SERVR__PORT"])
def test_an_unknown_environment_variable_is_refused_by_name(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(name, "1")
    message = refusal(None, tmp_path)
    assert "unknown setting" in message
    assert "environment" in message


def test_environment_variables_without_a_section_belong_to_others(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PENSTOCK_URL", "penstock://elsewhere")
    monkeypatch.setenv("PENSTOCK_PORT_7419_TCP_ADDR", "10.0.0.1")
    assert load() == Settings()


@pytest.mark.parametrize(
    ("section", "key", "value"),
    [
        ("server", "port", 65536),
        ("server", "port", "many"),
        ("server", "host", ""),
        ("server", "handshake_timeout_ms", 60_000),
        ("limits", "body_bytes_max", "65 MiB"),
        ("limits", "body_bytes_max", "lots"),
        ("log", "level", "loud"),
    ],
)
def test_a_bad_value_is_refused_with_key_value_and_source(
    section: str, key: str, value: object, tmp_path: Path
) -> None:
    message = refusal(None, tmp_path, **{section: {key: value}})
    assert f"{section}.{key} = {value!r} on the command line: " in message


def test_a_window_smaller_than_one_message_is_refused(tmp_path: Path) -> None:
    message = refusal('[limits]\nbody_bytes_max = "64 MiB"\n', tmp_path)
    assert message.startswith("limits: window_bytes must hold one message")


def test_a_reserve_smaller_than_one_segment_is_refused(tmp_path: Path) -> None:
    assert "must cover one segment" in refusal('[storage]\ndisk_reserve_bytes = "1 MiB"\n', tmp_path)


def test_a_missing_file_is_refused_by_name(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=r"cannot read the settings file .*nowhere\.toml: No such file"):
        load(tmp_path / "nowhere.toml")


def test_a_file_that_is_not_toml_is_refused_with_its_line(tmp_path: Path) -> None:
    assert "line 1" in refusal("[server\n", tmp_path)


def test_settings_errors_exit_with_ex_config() -> None:
    assert SettingsError.exit_code == module.EXIT_CONFIG == 78


def test_dead_letter_queues_have_settings_of_their_own(tmp_path: Path) -> None:
    config = tmp_path / "penstock.toml"
    config.write_text('[dead_letters]\nmax_bytes = "1 GiB"\noverflow = "drop_oldest"\nalarm_messages = 100\n')
    found = load(config).dead_letters
    assert (found.max_bytes, found.overflow, found.alarm_messages) == (1 << 30, "drop_oldest", 100)
    assert "dead_letters.overflow" in refusal('[dead_letters]\noverflow = "explode"\n', tmp_path)
    assert "dead_letters.alarm_messages" in refusal("[dead_letters]\nalarm_messages = -1\n", tmp_path)
