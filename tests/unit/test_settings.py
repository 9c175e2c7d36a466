"""Settings come from ALEXNET_* variables and are checked before anything starts."""

from typing import Any

import pytest

from service.settings import ENGINES, VARIANTS, Settings, SettingsError, from_environment

NUMBERS = {"ALEXNET_MAX_BODY_MIB": 1024, "ALEXNET_MAX_PICTURES": 10_000, "ALEXNET_MAX_MEGAPIXELS": 89}


def test_an_empty_environment_gives_the_defaults() -> None:
    assert from_environment({}) == Settings(
        model=None, engine="auto", variant="auto", max_body_mib=10, max_pictures=256, max_megapixels=24
    )


@pytest.mark.parametrize(
    ("variable", "value", "expected"),
    [
        ("ALEXNET_MODEL", "alexnet:0123456789ab", Settings(model="alexnet:0123456789ab")),
        ("ALEXNET_ENGINE", "torch-cpu", Settings(engine="torch-cpu")),
        ("ALEXNET_VARIANT", "int8", Settings(variant="int8")),
        ("ALEXNET_MAX_BODY_MIB", "7", Settings(max_body_mib=7)),
        ("ALEXNET_MAX_PICTURES", "8", Settings(max_pictures=8)),
        ("ALEXNET_MAX_MEGAPIXELS", "9", Settings(max_megapixels=9)),
    ],
)
def test_each_variable_changes_its_own_setting_alone(variable: str, value: str, expected: Settings) -> None:
    assert from_environment({variable: value}) == expected


@pytest.mark.parametrize("engine", ["auto", *ENGINES])
def test_every_engine_can_be_chosen(engine: str) -> None:
    assert from_environment({"ALEXNET_ENGINE": engine}).engine == engine


@pytest.mark.parametrize("variable", ["ALEXNET_MODEL", "ALEXNET_ENGINE", "ALEXNET_VARIANT", *NUMBERS])
def test_an_empty_value_means_the_default(variable: str) -> None:
    assert from_environment({variable: ""}) == Settings()


@pytest.mark.parametrize("engine", ["nonsense", "ONNX-CPU", "onnx", "auto "])
def test_an_unknown_engine_is_refused_with_variable_value_and_choices(engine: str) -> None:
    with pytest.raises(SettingsError) as refusal:
        from_environment({"ALEXNET_ENGINE": engine})
    assert str(refusal.value) == (
        f"ALEXNET_ENGINE='{engine}' is not one of: auto, onnx-cuda, torch-cuda, onnx-cpu, torch-cpu"
    )


@pytest.mark.parametrize("variant", ["auto", *VARIANTS])
def test_every_variant_can_be_chosen(variant: str) -> None:
    assert from_environment({"ALEXNET_VARIANT": variant}).variant == variant


def test_an_unknown_variant_is_refused_with_variable_value_and_choices() -> None:
    with pytest.raises(SettingsError, match="ALEXNET_VARIANT='bf16' is not one of: auto, fp32, fp16, int8"):
        from_environment({"ALEXNET_VARIANT": "bf16"})


@pytest.mark.parametrize("value", ["0", "-1", "1.5", "ten", " 5", "²", "٣", "10001", "1e3", "9" * 5000])
@pytest.mark.parametrize("variable", NUMBERS)
def test_a_wrong_number_is_refused_with_variable_value_and_range(variable: str, value: str) -> None:
    with pytest.raises(SettingsError) as refusal:
        from_environment({variable: value})
    assert str(refusal.value) == f"{variable}={value!r} is not a whole number from 1 to {NUMBERS[variable]}"


@pytest.mark.parametrize(("variable", "most"), NUMBERS.items())
def test_both_ends_of_a_range_are_allowed(variable: str, most: int) -> None:
    field = variable.removeprefix("ALEXNET_").lower()
    values: list[Any] = [getattr(from_environment({variable: text}), field) for text in ("1", str(most))]
    assert values == [1, most]


def test_variables_that_are_not_ours_are_ignored() -> None:
    kubernetes = {"ALEXNET_PORT": "tcp://10.0.0.1:80", "ALEXNET_SERVICE_HOST": "10.0.0.1", "ALEXNET_ENGINES": "x"}
    assert from_environment(kubernetes) == Settings()


def test_limits_are_given_in_bytes_and_pixels() -> None:
    settings = Settings(max_body_mib=2, max_megapixels=3)
    assert (settings.max_body_bytes, settings.max_pixels) == (2 * 1024 * 1024, 3_000_000)
