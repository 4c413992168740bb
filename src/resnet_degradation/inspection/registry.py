"""The probes of `resnet-inspect`, by the names that `what` takes."""

from collections.abc import Sequence

from resnet_degradation.config.custom_code import attribute_name, is_custom, load_custom
from resnet_degradation.inspection import (
    lesions,
    residuals,
    responses,
    sharpness,
    shattering,
    signals,
    surface,
)
from resnet_degradation.inspection.probe import Probe
from resnet_degradation.records.csv_tables import column_types
from resnet_degradation.system.errors import ConfigError

PROBES: dict[str, Probe] = {
    "responses": responses.PROBE,
    "signals": signals.PROBE,
    "residuals": residuals.PROBE,
    "lesions": lesions.PROBE,
    "surface": surface.PROBE,
    "shattering": shattering.PROBE,
    "sharpness": sharpness.PROBE,
}


def chosen_probes(what: Sequence[str]) -> dict[str, Probe]:
    """The probes that `what` names, by the names of their tables and figures.

    Raises ConfigError for a custom probe that is not a Probe, has the name of another one, or has
    a row class with columns that tables do not support.
    """
    probes: dict[str, Probe] = {}
    for name in dict.fromkeys(what):
        probe = load_custom(name, "what") if is_custom(name) else PROBES[name]
        if not isinstance(probe, Probe):
            raise ConfigError(f"what={name} is a {type(probe).__name__}, not a Probe")
        try:
            column_types(probe.row)
        except TypeError as error:
            raise ConfigError(f"what={name} cannot write its table: {error}") from error
        if attribute_name(name) in probes or (is_custom(name) and attribute_name(name) in PROBES):
            raise ConfigError(f"what={name}: another probe is named {attribute_name(name)} too")
        probes[attribute_name(name)] = probe
    return probes
