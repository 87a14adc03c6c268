"""What is done to the columns: each group's steps must fit the kind of its columns."""

from typing import assert_never

from service.errors import shown
from service.modelling.resolving.draft import CLASSED, NUMERIC, Column, Draft, default, nearest, type_name
from traind.v1 import preprocess_pb2

Preprocess = preprocess_pb2.Preprocess
ColumnGroup = preprocess_pb2.ColumnGroup
Impute = preprocess_pb2.Impute

_CLIP_QUANTILE = 0.01
_WIDEST_EMBEDDING = 50
# What a group may say beside `columns`, by the kind of its columns.
_ALLOWED = {
    "numbers": ("impute", "clip", "transform", "scale"),
    "categories": ("impute", "encode", "unseen"),
    "timestamps": ("impute", "date_parts", "scale"),
}


def resolve_preprocess(draft: Draft) -> None:
    """Defaults of the whole, then group by group; must come before the inputs are chosen."""
    preprocess = draft.spec.preprocess
    preprocess.scale = preprocess.scale or Preprocess.STANDARD
    preprocess.unseen = preprocess.unseen or Preprocess.REFUSE
    for index, group in enumerate(preprocess.groups):
        _resolve_group(draft, f"preprocess.groups[{index}]", group)


def resolve_target_steps(draft: Draft, *, numbers: bool) -> None:
    """What is done to the targets; only numbers can be transformed and scaled."""
    steps = draft.spec.preprocess.target
    for name, nothing in (("transform", Preprocess.IDENTITY), ("scale", Preprocess.NONE)):
        if not numbers and getattr(steps, name) not in {0, nothing}:
            draft.refuse(f"preprocess.target.{name}", "is for numbers and the target holds classes; leave it out")
        setattr(steps, name, getattr(steps, name) or nothing)


def _resolve_group(draft: Draft, path: str, group: ColumnGroup) -> None:
    kinds: dict[str, str] = {}
    for index, name in enumerate(group.columns):
        here = f"{path}.columns[{index}]"
        if name in draft.groups:
            draft.refuse(here, f"{shown(name)} stands in another group too; a column stands in one")
        elif name in draft.spec.target:
            draft.refuse(here, f"{shown(name)} is a target; preprocess.target says what is done to it")
        elif draft.spec.inputs and name not in draft.spec.inputs and name in draft.by_name:
            draft.refuse(here, f"{shown(name)} is no input; {nearest(name, draft.spec.inputs)}")
        elif (column := draft.find(here, name)) is not None:
            draft.groups[name] = group
            kinds.setdefault(_kind(column), name)
    if not kinds:
        return
    if len(kinds) > 1:
        (one, first), (other, second), *_ = kinds.items()
        draft.refuse(
            f"{path}.columns", f"{shown(first)} holds {one} and {shown(second)} {other}; make a group for each"
        )
        return
    (kind, name), *_ = kinds.items()
    if kind == "text":
        draft.refuse(f"{path}.columns", f"{shown(name)} is TEXT, which cannot be learned from yet; leave it out")
        return
    _check_allowed(draft, path, group, kind, name)
    _fill(draft, path, group, kind)


def _kind(column: Column) -> str:
    if column.type in NUMERIC:
        return "numbers"
    if column.type in CLASSED:
        return "categories"
    return "timestamps" if column.type == Column.TIMESTAMP else "text"


def _check_allowed(draft: Draft, path: str, group: ColumnGroup, kind: str, name: str) -> None:
    for descriptor, _ in group.ListFields():
        if descriptor.name not in ("columns", *_ALLOWED[kind]):
            allowed = ", ".join(_ALLOWED[kind])
            given = type_name(draft.by_name[name])
            draft.refuse(
                f"{path}.{descriptor.name}", f"does not fit {shown(name)}, which is {given}; it takes {allowed}"
            )


def _fill(draft: Draft, path: str, group: ColumnGroup, kind: str) -> None:
    preprocess = draft.spec.preprocess
    if group.HasField("impute"):
        _fill_impute(draft, f"{path}.impute", group.impute, kind)
    match kind:
        case "numbers":
            group.transform = group.transform or Preprocess.IDENTITY
            group.scale = group.scale or preprocess.scale
            if group.HasField("clip"):
                _fill_clip(draft, f"{path}.clip", group.clip)
        case "categories":
            group.unseen = group.unseen or preprocess.unseen
            _fill_encode(draft, group)
        case _:
            group.scale = group.scale or preprocess.scale
            if not group.date_parts:
                draft.refuse(f"{path}.date_parts", "is required for timestamps, for instance YEAR, MONTH, WEEKDAY")


def _fill_impute(draft: Draft, path: str, impute: Impute, kind: str) -> None:
    categories = kind == "categories"
    impute.how = impute.how or (Impute.MOST_FREQUENT if categories else Impute.MEDIAN)
    if categories and impute.how in {Impute.MEAN, Impute.MEDIAN}:
        how = Impute.How.Name(impute.how)
        draft.refuse(f"{path}.how", f"{how} is for numbers and these are {kind}; use MOST_FREQUENT or CONSTANT")
    if impute.how == Impute.DROP_ROW and impute.indicator:
        draft.refuse(f"{path}.indicator", "tells nothing where rows are left out; leave it out, or impute a value")
    constant = impute.how == Impute.CONSTANT
    if impute.HasField("number") and (categories or not constant):
        draft.refuse(f"{path}.number", "is what CONSTANT puts in place of missing numbers; leave it out")
    if impute.HasField("text") and not (categories and constant):
        draft.refuse(f"{path}.text", "is what CONSTANT puts in place of missing categories; leave it out")
    if constant:
        default(impute, "text" if categories else "number", value="missing" if categories else 0.0)


def _fill_clip(draft: Draft, path: str, clip: preprocess_pb2.Clip) -> None:
    if clip.HasField("low") and clip.HasField("high"):
        if clip.low > clip.high:
            draft.refuse(f"{path}.low", f"is {clip.low:g}, above high, {clip.high:g}; swap them")
        if clip.HasField("quantile"):
            draft.refuse(f"{path}.quantile", "fits bounds that are not given, and both are; leave one out")
    elif not (clip.HasField("low") or clip.HasField("high")):
        default(clip, "quantile", value=_CLIP_QUANTILE)


def _fill_encode(draft: Draft, group: ColumnGroup) -> None:
    kind = group.encode.WhichOneof("kind")
    match kind:
        case None:
            group.encode.one_hot.SetInParent()
        case "one_hot" | "ordinal":
            pass
        case "embedding":
            told = max(len(draft.by_name[name].categories) for name in group.columns if name in draft.by_name)
            # Where so many are there that they are not told, the widest is meant.
            width = max(1, min(_WIDEST_EMBEDDING, (told + 1) // 2)) if told else _WIDEST_EMBEDDING
            default(group.encode.embedding, "width", value=width)
        case _:
            assert_never(kind)
