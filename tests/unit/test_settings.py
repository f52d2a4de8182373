"""Settings are read once, refuse what they don't know, and keep secrets to themselves."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from farm import settings as module
from farm.errors import UsageError
from farm.settings import KNOWN, Settings


def test_an_empty_environment_gives_the_defaults() -> None:
    assert Settings.from_env({}) == Settings()


def test_every_variable_is_read() -> None:
    settings = Settings.from_env(
        {
            "WANFARM_CACHE": "/c",
            "WANFARM_MODELS": "/m:/n",
            "WANFARM_STORAGE_OPTIONS": '{"s3": {"endpoint_url": "http://127.0.0.1:9", "secret": "hush"}}',
            "WANFARM_PRICES": '{"nvidia-h100": 2}',
            "WANFARM_CURRENCY": "EUR",
            "WANFARM_THREADS": "3",
            "WANFARM_MAX_INPUT_BYTES": "1000",
            "WANFARM_MAX_IMAGE_PIXELS": "2000",
            "WANFARM_INPUT_TIMEOUT_S": "1.5",
            "WANFARM_CHECKPOINT_STEPS": "5",
            "WANFARM_CHECKPOINT_S": "7.5",
            "WANFARM_HANG_FLOOR_S": "9",
            "WANFARM_ULYSSES": "deepspeed",
            "WANFARM_LOG": "json",
            "WANFARM_LOG_LEVEL": "debug",
            "WANFARM_TRACES": "http://collector:4318",
            "OTEL_EXPORTER_OTLP_ENDPOINT": "http://other:4318",
            "PATH": "/bin",
        }
    )
    assert settings.cache_dir == Path("/c")
    assert settings.model_dirs == (Path("/m"), Path("/n"))
    assert settings.options_for("s3")["secret"] == "hush"
    assert settings.options_for("file") == {}
    assert (settings.price("nvidia-h100-80gb-hbm3"), settings.currency) == (2, "EUR")
    assert (settings.threads, settings.max_input_bytes, settings.max_image_pixels) == (3, 1000, 2000)
    assert settings.input_timeout_s == 1.5
    assert (settings.checkpoint_steps, settings.checkpoint_s, settings.hang_floor_s) == (5, 7.5, 9)
    assert settings.ulysses == "deepspeed"
    assert (settings.log, settings.log_level) == ("json", "debug")
    assert settings.traces == "http://collector:4318"
    assert Settings.from_env({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://other:4318"}).traces == "http://other:4318"


def test_secrets_are_not_in_the_repr() -> None:
    settings = Settings.from_env({"WANFARM_STORAGE_OPTIONS": '{"s3": {"secret": "hush"}}'})
    assert "hush" not in repr(settings)


def test_all_faults_are_named_at_once_and_no_secret_is_repeated() -> None:
    with pytest.raises(UsageError) as caught:
        Settings.from_env(
            {
                "WANFARM_TREADS": "3",
                "WANFARM_THREADS": "-1",
                "WANFARM_ULYSSES": "ring",
                "WANFARM_LOG": "xml",
                "WANFARM_LOG_LEVEL": "loud",
                "WANFARM_TRACES": "me:hush@collector:4317",
                "WANFARM_MAX_INPUT_BYTES": "1.5",
                "WANFARM_INPUT_TIMEOUT_S": "nan",
                "WANFARM_PRICES": '{"cpu": "dear"}',
                "WANFARM_STORAGE_OPTIONS": '{"secret": "hush"',
            }
        )
    message = str(caught.value)
    for name in ("TREADS", "THREADS", "ULYSSES", "MAX_INPUT_BYTES", "INPUT_TIMEOUT_S", "PRICES", "STORAGE_OPTIONS"):
        assert f"WANFARM_{name}" in message
    assert "hush" not in message


def test_a_price_is_found_by_its_longest_prefix() -> None:
    settings = Settings(prices={"nvidia-h100": 1.0, "nvidia-h100-nvl": 2.0, "cpu": 0.1})
    assert settings.price("nvidia-h100-nvl-94gb") == 2.0
    assert settings.price("nvidia-h1000") is None
    assert settings.price("cpu") == 0.1


def test_the_docstring_lists_exactly_the_known_variables() -> None:
    assert re.findall(r"^\| (WANFARM_\w+)", module.__doc__ or "", flags=re.MULTILINE) == list(KNOWN)
