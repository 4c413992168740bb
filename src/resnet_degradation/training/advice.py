"""Advice that a command gives once, however many runs it trains."""

from resnet_degradation.console.progress import Progress

_given: set[str] = set()


def advise_once(subject: str, advice: str | None, progress: Progress) -> None:
    """Give advice, if there is any, unless an earlier run of this command gave it."""
    if advice and subject not in _given:
        _given.add(subject)
        progress.advise(advice)


def forget_advice() -> None:
    """Forget which advice was given, because a new command or a new call in Python begins."""
    _given.clear()
