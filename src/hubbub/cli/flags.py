"""Settings as flags and back: each is declared once, in `hubbub.settings`."""

import inspect
from collections.abc import Callable, Iterable, Mapping
from typing import Annotated, Any, Final, Literal, get_args, get_origin

import typer
from pydantic import ValidationError
from pydantic.fields import FieldInfo
from pydantic_settings import SettingsError

from hubbub.cli.ends import WrongUsage
from hubbub.settings import Settings

_METAVARS: Final[dict[Any, str]] = {int: "INTEGER", float: "NUMBER", tuple: "A,B"}
_KINDS: Final[dict[Any, str]] = {bool: "true or false", int: "a whole number", float: "a number"}
_BOUNDS: Final = {"gt": "above", "ge": "at least", "lt": "below", "le": "at most"}


def with_flags(command: Callable[..., None]) -> Callable[..., None]:
    """Give a command a flag for every setting; it gets them as keyword arguments, in place of `**flags`.

    Flags are text as far as typer is concerned, but for switches: what they say is the settings' to judge, in
    the same words as for an environment variable.
    """
    own = inspect.signature(command)
    kept = [each for each in own.parameters.values() if each.kind is not inspect.Parameter.VAR_KEYWORD]
    flags = [_flag(name, field) for name, field in Settings.model_fields.items()]
    command.__signature__ = own.replace(parameters=[*kept, *flags])  # type: ignore[attr-defined]
    return command


def _flag(name: str, field: FieldInfo) -> inspect.Parameter:
    return inspect.Parameter(
        name,
        inspect.Parameter.KEYWORD_ONLY,
        default=_shown_default(field),
        annotation=_annotation(name, field),
    )


def _annotation(name: str, field: FieldInfo) -> Any:
    flag = _flag_name(name)
    if field.annotation is bool:
        return Annotated[bool, typer.Option(f"--{flag}/--no-{flag}", help=field.description)]
    option = typer.Option(f"--{flag}", metavar=_metavar(field), help=field.description)
    return Annotated[str | None, option]


def _shown_default(field: FieldInfo) -> Any:
    default = field.default
    if isinstance(default, tuple):
        return ",".join(default) or None
    return default if default is None or isinstance(default, bool) else f"{default}"


def _flag_name(name: str) -> str:
    return name.replace("_", "-")


def _kind(field: FieldInfo) -> Any:
    return get_origin(field.annotation) or field.annotation


def _metavar(field: FieldInfo) -> str:
    kind = _kind(field)
    return "|".join(get_args(field.annotation)) if kind is Literal else _METAVARS.get(kind, "TEXT")


def given_flags(context: typer.Context) -> dict[str, Any]:
    """The settings that were given as flags, by name; a default that nobody wrote is none."""
    sources = {name: context.get_parameter_source(name) for name in Settings.model_fields}
    return {
        name: context.params[name]
        for name, source in sources.items()
        if source is not None and source.name == "COMMANDLINE"
    }


def read_settings(flags: Mapping[str, Any]) -> Settings:
    """The settings of these flags, of the environment where there is no flag, or the defaults."""
    try:
        return Settings(**flags)
    except ValidationError as exc:
        raise WrongUsage("; ".join(_sentence(error, flags) for error in exc.errors())) from exc
    except SettingsError as exc:
        raise WrongUsage(str(exc)) from exc


def setting_label(name: str, flags: Iterable[str]) -> str:
    """What people call a setting: the flag, or the environment variable where it was not a flag."""
    if name in flags:
        return f"--{_flag_name(name)}"
    return f"{Settings.model_config['env_prefix']}{name.upper()}"


def _sentence(error: Mapping[str, Any], flags: Iterable[str]) -> str:
    name = str(error["loc"][0])
    field = Settings.model_fields[name]
    wanted = _wanted(field)
    shown = repr(error["input"]) if field.repr else "not good"  # a secret is nothing for a terminal
    return f"{setting_label(name, flags)} is {shown}; {f'give {wanted}' if wanted else _said(error)}"


def _said(error: Mapping[str, Any]) -> str:
    """What the setting itself says of a value, without pydantic's preface."""
    return str(error["msg"]).removeprefix("Value error, ")


def _wanted(field: FieldInfo) -> str:
    """What would be right, in words; empty where the field does not tell."""
    if _kind(field) is Literal:
        *others, last = get_args(field.annotation)
        return f"{', '.join(others)} or {last}"
    kind = _KINDS.get(field.annotation, "")
    bounds = [
        f"{words} {bound}"
        for constraint in field.metadata
        for limit, words in _BOUNDS.items()
        if (bound := getattr(constraint, limit, None)) is not None
    ]
    return f"{kind}, {' and '.join(bounds)}" if kind and bounds else kind
