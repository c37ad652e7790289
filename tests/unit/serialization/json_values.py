"""Every value that JSON holds, for Hypothesis."""

from __future__ import annotations

from typing import Any

from hypothesis import strategies as st

unicode_text = st.text(st.characters(exclude_categories=["Cs"]))
json_values: st.SearchStrategy[Any] = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | unicode_text,
    lambda inner: st.lists(inner) | st.dictionaries(unicode_text, inner),
    max_leaves=20,
)
