"""What kinds share whose examples are a text, or two."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from flue_bench.kinds.kind import Texts
from flue_bench.task import Example, Split

VIEWS: Mapping[str, Callable[[Texts], Texts]] = {
    "whole input": lambda texts: ("\n".join(sorted(texts)),),
    "a text": lambda texts: texts,
}
"""What ``tasks audit`` looks for in other rows: both texts in either order, or one of them."""


def check_pairs(splits: Mapping[Split, Sequence[Example]]) -> None:
    """Raise ``ValueError`` where some examples have a second text and others do not."""
    alone = [(split, each.id) for split, examples in splits.items() for each in examples if each.text_pair is None]
    if alone and len(alone) < sum(map(len, splits.values())):
        raise ValueError(
            f"{alone[0][0]}: {len(alone):,} examples have no second text ('text_pair'; the first is {alone[0][1]}), "
            "others have one: all or none"
        )
