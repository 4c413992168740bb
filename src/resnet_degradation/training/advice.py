"""Advice that a command shows only once, even if it trains many runs."""

from resnet_degradation.console.progress import Progress

_subjects_advised: set[str] = set()


def advise_once(subject: str, advice: str | None, progress: Progress) -> None:
    """Show `advice`, unless it is empty or this command has already advised on `subject`."""
    if advice and subject not in _subjects_advised:
        _subjects_advised.add(subject)
        progress.advise(advice)


def forget_advice() -> None:
    """Allow all advice again; call this when a new command or Python call begins."""
    _subjects_advised.clear()
