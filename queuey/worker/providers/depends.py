"""The mark of a parameter that a provider fills: `Annotated[Session, Depends(session)]`."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from inspect import Parameter
from typing import Annotated, Any, Final, Literal, get_args, get_origin

from queuey.errors import StartupError
from queuey.worker.handlers.parameters.annotations import resolved

Per = Literal["run", "process"]
_PER: Final = ("run", "process")


class Depends:
    """Says that `provider` makes the value of a parameter: a function, or a generator function that yields it once.

    What comes after its `yield` runs when the value is no longer needed. With `per="run"`, each run of a handler has a
    value of its own. With `per="process"`, the process that runs the handlers has one value, until it stops.
    """

    __slots__ = ("per", "provider")

    def __init__(self, provider: Callable[..., Any], *, per: Per = "run") -> None:
        self.provider: Final = provider
        self.per: Final = per

    def check(self) -> None:
        """Check the arguments, at the registration of a handler, which knows its file and line. Raises StartupError."""
        given: object = self.provider
        if not callable(given):
            kind = type(given).__name__
            raise StartupError(
                f"Depends takes a function, and this is a {kind}: write Depends(provider) with the function itself, "
                "without its ()"
            )
        if self.per not in _PER:
            raise StartupError(f'Depends(per={self.per!r}): it is one of "run", "process"')
        try:
            hash(given)
        except TypeError as error:
            raise StartupError(f"Depends takes a function, and this object has no hash: {error}") from error


def depends_of(function: Callable[..., Any], given: Sequence[Parameter]) -> dict[str, Depends]:
    """Return the mark of each parameter that has one. Raises StartupError for one that is in the wrong place."""
    found: dict[str, Depends] = {}
    for parameter in given:
        _check_kind(parameter.name, parameter.default)
        if isinstance(parameter.default, Depends):
            raise StartupError(
                f"{parameter.name!r} has Depends as its default: write {parameter.name}: Annotated[..., Depends(...)]"
            )
        try:
            annotation = resolved(function, parameter)
        except StartupError:  # a name that only type checkers import, or one that the payload's type reports
            continue
        while hasattr(annotation, "__value__"):  # an alias of the statement `type`
            annotation = annotation.__value__
        marks = [*_marks(parameter.name, annotation)]
        own = get_args(annotation) if get_origin(annotation) is Annotated else ()
        if len(marks) > 1 or any(mark not in own for mark in marks):
            raise StartupError(
                f"{parameter.name!r}: a provider makes the whole value of its parameter, so write "
                f"{parameter.name}: Annotated[..., Depends(...)] with one Depends"
            )
        if marks:
            marks[0].check()
            found[parameter.name] = marks[0]
    return found


def _marks(name: str, annotation: Any) -> Iterator[Depends]:
    """Yield the marks in the annotation of a parameter, also those inside of a union or a list."""
    _check_kind(name, annotation)
    if isinstance(annotation, Depends):
        yield annotation
    for part in get_args(annotation):
        yield from _marks(name, part)


def _check_kind(name: str, given: object) -> None:
    """Check that it is neither the class Depends nor a mark of another library, which would be taken for nothing."""
    if given is Depends:
        raise StartupError(
            f"{name!r} has Depends without its provider: write {name}: Annotated[..., Depends(provider)]"
        )
    kind = type(given)
    if kind.__name__ == Depends.__name__ and kind is not Depends:
        library = kind.__module__.partition(".")[0]
        raise StartupError(f"{name!r} has the Depends of {library}: use that of Queuey, from queuey import Depends")
