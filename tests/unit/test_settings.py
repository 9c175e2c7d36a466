"""Settings come from ALEXNET_* variables and are checked before anything starts."""

from dataclasses import Field, fields
from typing import Any

import pytest

from service.__main__ import main
from service.settings import ENGINES, VARIANTS, Settings, SettingsError, from_environment, variable
from tests.conftest import ROOT

NUMBERS = {
    "ALEXNET_MAX_BODY_MIB": (1, 1024),
    "ALEXNET_MAX_PICTURES": (1, 10_000),
    "ALEXNET_MAX_MEGAPIXELS": (1, 89),
    "ALEXNET_REQUEST_SECONDS": (1, 3600),
    "ALEXNET_MAX_REQUESTS": (1, 100_000),
    "ALEXNET_MAX_ANSWERING": (1, 100_000),
    "ALEXNET_MAX_REQUESTS_PER_CLIENT": (1, 100_000),
    "ALEXNET_MAX_BATCH": (1, 1024),
    "ALEXNET_MAX_QUEUE": (1, 100_000),
    "ALEXNET_MAX_WAIT_MS": (0, 1000),
    "ALEXNET_SHUTDOWN_SECONDS": (1, 300),
    "ALEXNET_WORKERS": (1, 256),
    "ALEXNET_THREADS": (1, 256),
    "ALEXNET_CUDA_MEMORY_MIB": (0, 999_999),
}
FLAGS = ("ALEXNET_ACCESS_LOG", "ALEXNET_JSON_LOG", "ALEXNET_WARM_FALLBACK", "ALEXNET_TF32")
KEY = "0123456789abcdef"


def test_the_limits_are_safe_without_any_variable() -> None:
    settings = from_environment({})
    assert settings == Settings()
    assert (settings.max_body_mib, settings.max_pictures, settings.max_megapixels) == (10, 256, 24)
    assert (settings.request_seconds, settings.shutdown_seconds, settings.max_wait_ms) == (20, 10, 0)


def test_the_variables_tested_here_are_all() -> None:
    assert {*NUMBERS, *FLAGS, "ALEXNET_MODEL", "ALEXNET_ENGINE", "ALEXNET_VARIANT", "ALEXNET_API_KEY"} == set(
        map(variable, fields(Settings))
    )


@pytest.mark.parametrize(
    ("name", "value", "expected"),
    [
        ("ALEXNET_MODEL", "alexnet:0123456789ab", Settings(model="alexnet:0123456789ab")),
        ("ALEXNET_ENGINE", "torch-cpu", Settings(engine="torch-cpu")),
        ("ALEXNET_VARIANT", "int8", Settings(variant="int8")),
        ("ALEXNET_MAX_BODY_MIB", "7", Settings(max_body_mib=7)),
        ("ALEXNET_ACCESS_LOG", "0", Settings(access_log=False)),
        ("ALEXNET_API_KEY", KEY, Settings(api_key=KEY)),
    ],
)
def test_each_variable_changes_its_own_setting_alone(name: str, value: str, expected: Settings) -> None:
    assert from_environment({name: value}) == expected


@pytest.mark.parametrize("engine", ["auto", *ENGINES])
def test_every_engine_can_be_chosen(engine: str) -> None:
    assert from_environment({"ALEXNET_ENGINE": engine}).engine == engine


@pytest.mark.parametrize("setting", fields(Settings), ids=variable)
def test_an_empty_value_means_the_default(setting: Field[Any]) -> None:
    assert from_environment({variable(setting): ""}) == Settings()


@pytest.mark.parametrize("engine", ["nonsense", "ONNX-CPU", "onnx", "auto "])
def test_an_unknown_engine_is_refused_with_variable_value_and_choices(engine: str) -> None:
    with pytest.raises(SettingsError) as refusal:
        from_environment({"ALEXNET_ENGINE": engine})
    assert str(refusal.value) == (
        f"ALEXNET_ENGINE='{engine}' is not one of: auto, onnx-cuda, torch-cuda, onnx-openvino, onnx-cpu, torch-cpu"
    )


@pytest.mark.parametrize("variant", ["auto", *VARIANTS])
def test_every_variant_can_be_chosen(variant: str) -> None:
    assert from_environment({"ALEXNET_VARIANT": variant}).variant == variant


def test_an_unknown_variant_is_refused_with_variable_value_and_choices() -> None:
    with pytest.raises(SettingsError, match="ALEXNET_VARIANT='bf16' is not one of: auto, fp32, fp16, int8"):
        from_environment({"ALEXNET_VARIANT": "bf16"})


@pytest.mark.parametrize("value", ["-1", "1.5", "ten", " 5", "²", "٣", "1000000", "1e3", "9" * 5000])
@pytest.mark.parametrize("name", NUMBERS)
def test_a_wrong_number_is_refused_with_variable_value_and_range(name: str, value: str) -> None:
    with pytest.raises(SettingsError) as refusal:
        from_environment({name: value})
    least, most = NUMBERS[name]
    assert str(refusal.value) == f"{name}={value!r} is not a whole number from {least} to {most}"


@pytest.mark.parametrize(("name", "ends"), NUMBERS.items())
def test_both_ends_of_a_range_are_allowed_and_nothing_beyond(name: str, ends: tuple[int, int]) -> None:
    field = name.removeprefix("ALEXNET_").lower()
    for end in ends:
        assert getattr(from_environment({name: str(end)}), field) == end
    for beyond in (ends[0] - 1, ends[1] + 1):
        with pytest.raises(SettingsError):
            from_environment({name: str(beyond)})


@pytest.mark.parametrize("name", FLAGS)
@pytest.mark.parametrize("value", ["true", "yes", "2", " 1"])
def test_a_flag_is_0_or_1(name: str, value: str) -> None:
    with pytest.raises(SettingsError) as refusal:
        from_environment({name: value})
    assert str(refusal.value) == f"{name}={value!r} is not 0 or 1"


@pytest.mark.parametrize("key", ["short", "0123456789abcde", "0123456789abcdef ghi", "0123456789abcdeé", "x" * 257])
def test_a_wrong_key_is_refused_and_not_shown(key: str) -> None:
    with pytest.raises(SettingsError) as refusal:
        from_environment({"ALEXNET_API_KEY": key})
    assert str(refusal.value) == (
        f"ALEXNET_API_KEY (of {len(key)} characters) is not 16 to 256 printable ASCII characters without spaces"
    )


def test_the_key_is_not_shown_where_the_settings_are() -> None:
    assert KEY not in repr(Settings(api_key=KEY))


def test_variables_that_are_not_ours_are_ignored() -> None:
    kubernetes = {"ALEXNET_PORT": "tcp://10.0.0.1:80", "ALEXNET_SERVICE_HOST": "10.0.0.1", "ALEXNET_ENGINES": "x"}
    assert from_environment(kubernetes) == Settings()


def test_limits_are_given_in_bytes_and_pixels() -> None:
    settings = Settings(max_body_mib=2, max_megapixels=3)
    assert (settings.max_body_bytes, settings.max_pixels) == (2 * 1024 * 1024, 3_000_000)


def test_the_document_of_the_settings_is_what_the_code_prints(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["settings"]) == 0
    assert capsys.readouterr().out == (ROOT / "docs" / "settings.md").read_text()
