"""What an operator can set. Precedence, lowest first: defaults, TOML file, ``PENSTOCK_<SECTION>__<KEY>``, flags.

``config/penstock.toml`` is this module for people: every key with its default, unit and reason; a test keeps the two
equal. A key that is unknown or a value that is out of bounds is refused by name, with where it came from.
"""

import difflib
import os
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Final, Literal, Self

from pydantic import (
    BaseModel,
    BeforeValidator,
    ByteSize,
    ConfigDict,
    Field,
    TypeAdapter,
    ValidationError,
    model_validator,
)
from pydantic_settings import BaseSettings, EnvSettingsSource, PydanticBaseSettingsSource, SettingsConfigDict

from penstock_client.wire.limits import (
    BODY_BYTES_MAX_DEFAULT,
    BODY_BYTES_MAX_LIMIT,
    ENVELOPE_BYTES_MAX,
    FRAME_BYTES_MAX_SLACK,
    HEARTBEAT_MS_DEFAULT,
    HEARTBEAT_MS_MIN,
)

EXIT_CONFIG: Final = 78
ENVIRONMENT_PREFIX: Final = "PENSTOCK_"
KIB: Final = 1024
MIB: Final = 1024 * KIB
GIB: Final = 1024 * MIB
MAX_AGE_MS_MAX: Final = 100 * 365 * 24 * 3600 * 1000
"""A hundred years: as of any queue."""

_byte_size: Final = TypeAdapter(ByteSize)


def _bytes_of(value: Any) -> Any:
    """Accept ``"64 MiB"`` beside plain numbers."""
    return int(_byte_size.validate_python(value)) if isinstance(value, str) else value


Bytes = Annotated[int, BeforeValidator(_bytes_of)]
Section = Mapping[str, Any]


class SettingsError(Exception):
    """The settings are refused. The message is one line for the operator; ``exit_code`` is EX_CONFIG."""

    exit_code: Final = EXIT_CONFIG


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class ServerSettings(_Section):
    """Where to listen, and what one peer or all peers may take."""

    host: str = Field(default="127.0.0.1", min_length=1)
    port: int = Field(default=7419, ge=0, le=65535)
    allow_anonymous: bool = False
    connections_max: int = Field(default=10_000, ge=1, le=1_000_000)
    connections_per_address_max: int = Field(default=2_000, ge=1, le=1_000_000)
    handshake_timeout_ms: int = Field(default=5_000, ge=250, le=5_000)
    heartbeat_ms: int = Field(default=HEARTBEAT_MS_DEFAULT, ge=HEARTBEAT_MS_MIN, le=300_000)
    stop_timeout_ms: int = Field(default=5_000, ge=100, le=8_000)


class StorageSettings(_Section):
    """Where facts survive, and how much disk and memory that may take."""

    data_dir: Path = Path("penstock-data")
    segment_bytes: Bytes = Field(default=64 * MIB, ge=MIB, le=GIB)
    snapshot_bytes: Bytes = Field(default=256 * MIB, ge=MIB)
    cache_bytes: Bytes = Field(default=64 * MIB, ge=MIB)
    disk_reserve_bytes: Bytes = Field(default=64 * MIB, ge=0)
    disk_free_bytes_min: Bytes = Field(default=64 * MIB, ge=0)

    @model_validator(mode="after")
    def _reserve_covers_a_segment(self) -> Self:
        if 0 < self.disk_reserve_bytes < self.segment_bytes:
            raise ValueError("disk_reserve_bytes must cover one segment (segment_bytes), or be 0 for no reserve")
        return self


class LimitSettings(_Section):
    """Bounds on messages, queues and what one connection may have in flight."""

    body_bytes_max: Bytes = Field(default=BODY_BYTES_MAX_DEFAULT, ge=KIB, le=BODY_BYTES_MAX_LIMIT)
    queues_max: int = Field(default=100_000, ge=1, le=10_000_000)
    groups_per_queue_max: int = Field(default=1_000, ge=1, le=100_000)
    exchanges_max: int = Field(default=10_000, ge=1, le=1_000_000)
    bindings_max: int = Field(default=100_000, ge=1, le=10_000_000)
    transaction_operations_max: int = Field(default=10_000, ge=1, le=100_000)
    transaction_bytes_max: Bytes = Field(default=MIB, ge=KIB, le=BODY_BYTES_MAX_LIMIT)
    prefetch_messages_max: int = Field(default=100_000, ge=1, le=1_000_000)
    prefetch_bytes_max: Bytes = Field(default=64 * MIB, ge=64 * KIB, le=GIB)
    reply_bytes_max: Bytes = Field(default=8 * MIB, ge=64 * KIB, le=GIB)
    producer_idle_days: int = Field(default=7, ge=1, le=3650)
    window_messages: int = Field(default=100_000, ge=1, le=1_000_000)
    window_bytes: Bytes = Field(default=32 * MIB, ge=64 * KIB, le=GIB)
    memory_bytes_max: Bytes = Field(default=0, ge=0)

    @model_validator(mode="after")
    def _window_holds_one_message(self) -> Self:
        if self.window_bytes < self.body_bytes_max + ENVELOPE_BYTES_MAX:
            raise ValueError(f"window_bytes must hold one message: body_bytes_max + {ENVELOPE_BYTES_MAX} bytes or more")
        return self

    @model_validator(mode="after")
    def _transaction_fits_a_frame(self) -> Self:
        if self.transaction_bytes_max > self.body_bytes_max + FRAME_BYTES_MAX_SLACK:
            raise ValueError(
                f"transaction_bytes_max must fit a frame: at most body_bytes_max + {FRAME_BYTES_MAX_SLACK} bytes"
            )
        return self


class DeadLetterSettings(_Section):
    """Bounds and alarms of the dead-letter queues that the broker makes by itself."""

    max_messages: int = Field(default=0, ge=0, le=1 << 40)
    max_bytes: Bytes = Field(default=0, ge=0, le=1 << 50)
    max_age_ms: int = Field(default=0, ge=0, le=MAX_AGE_MS_MAX)
    overflow: Literal["backpressure", "reject", "drop_oldest", "drop_newest"] = "backpressure"
    alarm_messages: int = Field(default=0, ge=0, le=1 << 40)
    alarm_age_ms: int = Field(default=0, ge=0, le=MAX_AGE_MS_MAX)


class LogSettings(_Section):
    """What is logged, and how."""

    format: Literal["auto", "console", "json"] = "auto"
    level: Literal["debug", "info", "warning", "error"] = "info"


class Settings(BaseSettings):
    """Everything that can be set. Building one directly reads neither file nor environment; ``load`` does."""

    model_config = SettingsConfigDict(
        extra="forbid", frozen=True, env_prefix=ENVIRONMENT_PREFIX, env_nested_delimiter="__"
    )

    server: ServerSettings = ServerSettings()
    storage: StorageSettings = StorageSettings()
    limits: LimitSettings = LimitSettings()
    dead_letters: DeadLetterSettings = DeadLetterSettings()
    log: LogSettings = LogSettings()

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Take what is passed and nothing else."""
        del settings_cls, env_settings, dotenv_settings, file_secret_settings
        return (init_settings,)


def load(config: Path | None = None, flags: Mapping[str, Section] | None = None) -> Settings:
    """Return the settings of this process.

    ``config`` names a TOML file; ``flags`` are values by section and key. Raises SettingsError.
    """
    layers: list[tuple[str, Mapping[str, Section]]] = [
        ("on the command line", flags or {}),
        ("in the environment", _environment()),
        (f"in {config}", _file(config) if config else {}),
    ]
    merged: dict[str, dict[str, Any]] = {}
    for where, layer in reversed(layers):
        for section, values in layer.items():
            if not isinstance(values, Mapping):
                raise SettingsError(_unknown(section, where, sorted(Settings.model_fields)))
            merged.setdefault(section, {}).update(values)
    try:
        return Settings(**merged)  # type: ignore[arg-type]
    except ValidationError as error:
        raise SettingsError("; ".join(_explain(detail, layers) for detail in error.errors())) from None


def _environment() -> Mapping[str, Section]:
    """Read ``PENSTOCK_<SECTION>__<KEY>``; names without ``__`` (such as PENSTOCK_URL) belong to others."""
    for name in os.environ:
        section, separator, key = name.removeprefix(ENVIRONMENT_PREFIX).lower().partition("__")
        if name.startswith(ENVIRONMENT_PREFIX) and separator and key and section not in Settings.model_fields:
            raise SettingsError(_unknown(name, "in the environment", sorted(Settings.model_fields)))
    source = EnvSettingsSource(Settings)
    nested = {
        section: source.explode_env_vars(section, field, source.env_vars)
        for section, field in Settings.model_fields.items()
    }
    return {section: values for section, values in nested.items() if values}


def _file(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise SettingsError(f"cannot read the settings file {path}: {error.strerror}") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise SettingsError(f"the settings file {path} is not valid TOML: {error}") from None


def _explain(detail: Any, layers: list[tuple[str, Mapping[str, Section]]]) -> str:
    """Return one sentence for one validation error: which key, from where, what is wrong, what would be right."""
    location = [str(part) for part in detail["loc"]]
    where, given = next(
        ((where, value) for where, layer in layers if (value := _value_at(layer, location)) is not None), ("", None)
    )
    if detail["type"] == "extra_forbidden":
        return _unknown(".".join(location), where, _known_beside(location))
    reason = detail["msg"].removeprefix("Value error, ")
    if len(location) < 2:
        return f"{location[0]}: {reason}" if location else reason
    return f"{'.'.join(location)} = {given!r} {where}: {reason[0].lower()}{reason[1:]}"


def _value_at(layer: Mapping[str, Any], location: list[str]) -> Any:
    value: Any = layer
    for part in location:
        value = value.get(part) if isinstance(value, Mapping) else None
    return value


def _known_beside(location: list[str]) -> list[str]:
    if len(location) == 1:
        return sorted(Settings.model_fields)
    section = Settings.model_fields[location[0]].default
    return sorted(f"{location[0]}.{key}" for key in type(section).model_fields)


def _unknown(name: str, where: str, known: list[str]) -> str:
    close = difflib.get_close_matches(name, known, n=1)
    hint = f"did you mean {close[0]}?" if close else f"known are {', '.join(known)}"
    return f"unknown setting {name} {where}: {hint}"
