"""Which fields an event has, and the refusal of those it does not have.

Only what is written now is checked: data that is stored, or comes from a sender of
another version, is read without this.
"""

from __future__ import annotations

import dataclasses
import inspect
import types
import typing
from typing import TYPE_CHECKING, Any, cast

from pydantic import AliasChoices, AliasPath, BaseModel, RootModel, ValidationError
from pydantic.dataclasses import is_pydantic_dataclass
from pydantic_core import InitErrorDetails, PydanticCustomError
from typing_extensions import NoExtraItems, is_typeddict

from ..foundations.errors import EventValidationError
from ..foundations.suggestions import unknown_word
from ..serialization.type_forms import unalias

if TYPE_CHECKING:
    from collections.abc import Mapping

    from pydantic.fields import FieldInfo


def refuse_unknown_arguments(cls: type[BaseModel], given: Mapping[str, Any]) -> None:
    """Pydantic's `ValidationError` for arguments that no field of the class takes.

    A class whose config says `extra`, or whose validators read the raw input, decides
    for itself.
    """
    fields = cls.__pydantic_fields__
    odd = [name for name in given if not _is_plain(fields.get(name))]
    if not odd or _decides_itself(cls):
        return
    known = _arguments(cls)
    details = [
        InitErrorDetails(
            type=PydanticCustomError(
                "unknown_field",
                "{problem}",
                {"problem": unknown_word(name, known, cls.__name__, "field")},
            ),
            loc=(name,),
            input=given[name],
        )
        for name in odd
        if name not in known
    ]
    if details:
        raise ValidationError.from_exception_data(
            cls.__name__,
            details,
            hide_input=bool(cls.model_config.get("hide_input_in_errors")),
        )


def refuse_unknown_keys(event: str, data_type: Any, data: object) -> None:
    """`EventValidationError` for keys of a mapping that the event's data has not."""
    known = _keys(data_type) if isinstance(data, dict) else None
    if known is None:
        return
    for key in cast("dict[Any, Any]", data):
        if isinstance(key, str) and key not in known:
            name = _aliased_field(data_type, key)
            raise EventValidationError(
                unknown_word(key, known, f'the event "{event}"', "field")
                if name is None
                else f'"{key}" is the alias of the field "{name}" of the event '
                f'"{event}": in a mapping write the field\'s name',
                field="data",
            )


def has_no_other_keys(data_type: Any) -> bool:
    """Whether a mapping that is written now as this type has none but its fields.

    Not if values of the type write more than that, such as computed fields.
    """
    for kind in _members(data_type):
        decorators = getattr(kind, "__pydantic_decorators__", None)
        if decorators is not None and (
            decorators.computed_fields or decorators.model_serializers
        ):
            return False
    return _keys(data_type) is not None


def fields_made_anew(data: object) -> list[str]:
    """The fields of a model that nobody gave and that are another value each time.

    Calls the `default_factory` of such a field once more.
    """
    if not isinstance(data, BaseModel):
        return []
    return [
        name
        for name, field in type(data).__pydantic_fields__.items()
        if name not in data.model_fields_set
        and field.default_factory is not None
        and not field.default_factory_takes_validated_data
        and field.get_default(call_default_factory=True) != getattr(data, name)
    ]


def required_keys(data_type: Any) -> list[str] | None:
    """The keys that data of this type must have; None where it is no such mapping."""
    form = unalias(data_type)
    kind: Any = typing.get_origin(form) or form
    if _is_model(kind) or _is_pydantic_dataclass(kind):
        fields: Mapping[str, FieldInfo] = kind.__pydantic_fields__
        return [name for name, field in fields.items() if field.is_required()]
    if is_typeddict(kind):
        return sorted(kind.__required_keys__)
    if not isinstance(kind, type) or not dataclasses.is_dataclass(kind):
        return None
    parameters = inspect.signature(kind).parameters.values()
    return [each.name for each in parameters if each.default is each.empty]


def names_of(data_type: Any) -> set[str] | None:
    """The names of the fields of data of this type; None where that cannot be told."""
    form = unalias(data_type)
    kind: Any = typing.get_origin(form) or form
    if _is_model(kind) or _is_pydantic_dataclass(kind):
        return set(kind.__pydantic_fields__)
    if is_typeddict(kind):
        return set(typing.get_type_hints(kind))
    if isinstance(kind, type) and dataclasses.is_dataclass(kind):
        return {field.name for field in dataclasses.fields(kind)}
    return None


def _is_model(kind: Any) -> bool:
    return (
        isinstance(kind, type)
        and issubclass(kind, BaseModel)
        and not issubclass(kind, RootModel)
    )


def _is_pydantic_dataclass(kind: Any) -> bool:
    """A dataclass whose signature has the aliases of its fields for their names."""
    return isinstance(kind, type) and is_pydantic_dataclass(kind)


def _is_plain(field: FieldInfo | None) -> bool:
    return field is not None and field.validation_alias is None


def _decides_itself(cls: type[BaseModel]) -> bool:
    validators = cls.__pydantic_decorators__.model_validators.values()
    return (
        cls.model_config.get("extra") is not None
        or issubclass(cls, RootModel)
        or any(each.info.mode != "after" for each in validators)
    )


def _arguments(cls: type[BaseModel]) -> set[str]:
    config = cls.model_config
    by_name = config.get("validate_by_name") or config.get("populate_by_name")
    known: set[str] = set()
    for name, field in cls.__pydantic_fields__.items():
        aliases = _aliases(field.validation_alias)
        if config.get("validate_by_alias") is not False:
            known.update(aliases)
        if by_name or not aliases:
            known.add(name)
    return known


def _aliases(alias: str | AliasPath | AliasChoices | None) -> list[str]:
    if alias is None:
        return []
    if isinstance(alias, AliasChoices):
        return [name for choice in alias.choices for name in _aliases(choice)]
    return [alias if isinstance(alias, str) else str(alias.path[0])]


def _members(data_type: Any) -> list[Any]:
    """The type itself, or those of a union but None."""
    form = unalias(data_type)
    kind = typing.get_origin(form) or form
    if kind not in (typing.Union, types.UnionType):
        return [kind]
    members = [each for each in typing.get_args(form) if each is not types.NoneType]
    return [kind for member in members for kind in _members(member)]


def _aliased_field(data_type: Any, key: str) -> str | None:
    """The field that has this alias."""
    for kind in _members(data_type):
        fields: Mapping[str, FieldInfo] = getattr(kind, "__pydantic_fields__", {})
        for name, field in fields.items():
            if key in _aliases(field.validation_alias):
                return name
    return None


def _keys(data_type: Any) -> set[str] | None:
    """What a mapping of this type may hold; None where that cannot be told."""
    known: set[str] = set()
    for kind in _members(data_type):
        keys = _keys_of(kind) if isinstance(kind, type) else None
        if keys is None:
            return None
        known |= keys
    return known


def _keys_of(kind: type[Any]) -> set[str] | None:
    if issubclass(kind, BaseModel):
        return None if _decides_itself(kind) else set(kind.__pydantic_fields__)
    return _keys_without_a_model(kind)


def _keys_without_a_model(kind: type[Any]) -> set[str] | None:
    config: Mapping[str, Any] = getattr(kind, "__pydantic_config__", {})
    if config.get("extra") is not None:
        return None
    if _is_pydantic_dataclass(kind):
        fields: Mapping[str, FieldInfo] = kind.__pydantic_fields__
        return {name for name, field in fields.items() if field.init is not False}
    if is_typeddict(kind):
        extra = getattr(kind, "__extra_items__", NoExtraItems)
        return set(typing.get_type_hints(kind)) if extra is NoExtraItems else None
    if dataclasses.is_dataclass(kind):
        return set(inspect.signature(kind).parameters)
    return None
