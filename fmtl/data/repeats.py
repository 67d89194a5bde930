"""Images that occur where they should not: twice in a list, or both trained and scored on."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from fmtl.data.files import ListContent
from fmtl.data.findings import Finding


def duplicates(content: ListContent) -> Iterator[Finding]:
    """Images of one list that have the same bytes under different names."""
    first: dict[bytes, str] = {}
    for image_id, digest in content.digests.items():
        twin = first.setdefault(digest, image_id)
        if content.files.get((image_id, "image")) != content.files.get((twin, "image")):
            yield content.finding("duplicate", f"the same image as {twin}", image_id)


def leaks(lists: Sequence[str], contents: Mapping[str, ListContent]) -> list[Finding]:
    """Images of lists to score on that are in lists to train on, by file or by content.

    The data set's first list is trained on, its second scored on. A further list counts as one of the two where all of
    its images are from it.

    Args:
        lists: all lists of the data set, in its order.
        contents: those that were checked.
    """
    training, validation = (_with_parts(main, lists, contents) for main in lists[:2])
    trained: dict[str | bytes, tuple[ListContent, str]] = {}
    for content in training:
        for image_id in content.chosen:
            for key in (content.files.get((image_id, "image")), content.digests.get(image_id)):
                if key:
                    trained.setdefault(key, (content, image_id))
    found: dict[str, Finding] = {}
    for content in validation:
        for image_id in content.chosen:
            file = content.files.get((image_id, "image"), "")
            twin = trained.get(file) or trained.get(content.digests.get(image_id, b""))
            if twin is None:
                continue
            how = "is in" if file in trained else f"has the same content as {twin[1]} of"
            what = f"this image {how} list {twin[0].name}, which is for training"
            # An image of a short list is in the long one as well; it is told once.
            found.setdefault(file, content.finding("leak", what, image_id))
    return list(found.values())


def _with_parts(main: str, lists: Sequence[str], contents: Mapping[str, ListContent]) -> list[ListContent]:
    """One of the two main lists with those that are parts of it, as far as they were checked."""
    if main not in contents:
        return []
    whole = set(contents[main].ids)
    parts = [content for name, content in contents.items() if name not in lists[:2] and whole.issuperset(content.ids)]
    return [contents[main], *parts]
