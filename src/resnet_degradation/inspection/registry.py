"""The built-in probes of `resnet-inspect`, and the loading of custom ones."""

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


def load_probes(what: Sequence[str]) -> dict[str, Probe]:
    """Load the probes that `what` names, keyed by the name of their tables and figures.

    Raises ConfigError if a custom probe is not a Probe, has the same name as another one, or has a
    row class with columns that tables do not support.
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
        short_name = attribute_name(name)
        if short_name in probes or (is_custom(name) and short_name in PROBES):
            raise ConfigError(f"what={name}: another probe is named {short_name}, too")
        probes[short_name] = probe
    return probes
