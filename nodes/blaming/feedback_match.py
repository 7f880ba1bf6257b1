"""Which prompt a piece of feedback is about: by words (BM25), and by meaning where there is a way.

BM25: Robertson and Zaragoza, "The Probabilistic Relevance Framework", 2009, in the variant that
Lucene uses and `bm25s` implements. It counts the words' pieces of four letters: they find
"newsletters" in "newsletter" in most languages, as stemmers do in one (McNamee and Mayfield,
"Character n-gram tokenization for European language text retrieval", 2004).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from tracetune.errors import InputError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

__all__ = ["Embed", "match_feedback"]

Embed = Callable[[Sequence[str]], Sequence[Sequence[float]]]
"""One vector per text, all equally long: what a LangGraph store's index is configured with."""

DOUBT = 3.0
"""Weight of "about none of them", as a BM25 score: somewhat less than that of one telling word."""
NAMED = 0.8
"""Share of a text that the documents get between them whose names it says."""
MOST_CHARS = 4000
"""Of a text that are looked at."""
PIECE = 4
"""Letters."""
_WORD = re.compile(r"[^\W_]{2,}")


def match_feedback(
    texts: Sequence[str],
    documents: Sequence[str],
    *,
    names: Sequence[str] = (),
    embed: Embed | None = None,
) -> list[list[float]]:
    """Return a row for each text: the share of it that each document gets.

    Shares are in [0, 1] and add up to at most 1; all are 0 where nothing matches. With `embed`,
    they are the mean of what the words say and what the vectors say.

    Args:
        names: The documents' names, in their order: a text that says one is about that document.

    Raises:
        InputError: `embed` does not return one vector per text, all equally long.
    """
    if not texts or not documents:
        return [[0.0] * len(documents) for _ in texts]
    texts = [text[:MOST_CHARS] for text in texts]
    documents = [document[:MOST_CHARS] for document in documents]
    shares = _by_words(texts, documents)
    if embed is not None:
        shares = (shares + _by_meaning(texts, documents, embed)) / 2
    keys = [_words(name) for name in names]
    for row, text in enumerate(texts):
        if named := _named(text, keys):
            shares[row] *= 1 - NAMED
            shares[row, named] += NAMED / len(named)
    rows: list[list[float]] = shares.tolist()
    return rows


def _by_words(texts: Sequence[str], documents: Sequence[str]) -> NDArray[np.float64]:
    import bm25s  # type: ignore[import-untyped]
    import numpy as np

    corpus = [_pieces(document) for document in documents]
    scores = np.zeros((len(texts), len(documents)))
    if any(corpus):
        index: Any = bm25s.BM25()
        index.index(corpus, show_progress=False)
        for row, text in enumerate(texts):
            if pieces := _pieces(text):
                scores[row] = index.get_scores(pieces)
    shares: NDArray[np.float64] = scores / (scores.sum(axis=1, keepdims=True) + DOUBT)
    return shares


def _words(text: str) -> list[str]:
    from bm25s.stopwords import STOPWORDS_EN  # type: ignore[import-untyped]

    # `_` and `-` part words too: a prompt called triage-ignore is about ignoring.
    return [word for word in _WORD.findall(text.casefold()) if word not in STOPWORDS_EN]


def _pieces(text: str) -> list[str]:
    ends = [f" {word} " for word in _words(text)]
    return [end[at : at + PIECE] for end in ends for at in range(len(end) - PIECE + 1)]


def _named(text: str, keys: Sequence[Sequence[str]]) -> list[int]:
    """Positions of the names that the text says; names without a telling word are never said.

    Args:
        keys: The names' words.
    """
    said = f" {' '.join(_words(text))} "
    return [at for at, key in enumerate(keys) if key and f" {' '.join(key)} " in said]


def _by_meaning(
    texts: Sequence[str], documents: Sequence[str], embed: Embed
) -> NDArray[np.float64]:
    import numpy as np

    vectors = _vectors([*texts, *documents], embed)
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    vectors = vectors / np.where(lengths == 0, 1.0, lengths)
    cosines = vectors[: len(texts)] @ vectors[len(texts) :].T
    # Models differ in how far apart unlike texts lie, so only how documents compare counts.
    spread = cosines.std(axis=1, keepdims=True)
    clear = spread > 1e-9
    weights = np.exp((cosines - cosines.mean(axis=1, keepdims=True)) / np.where(clear, spread, 1.0))
    shares: NDArray[np.float64] = np.where(clear, weights / weights.sum(axis=1, keepdims=True), 0.0)
    return shares


def _vectors(texts: list[str], embed: Embed) -> NDArray[np.float64]:
    import numpy as np

    given = embed(texts)
    try:
        vectors = np.asarray([list(vector) for vector in given], dtype=np.float64)
    except (TypeError, ValueError):
        vectors = np.empty(0)
    if vectors.ndim != 2 or len(vectors) != len(texts) or not np.isfinite(vectors).all():
        raise InputError(
            f"embed must return one vector of finite numbers per text, all equally long, "
            f"but got {vectors.shape} for {len(texts)} texts."
        )
    return vectors
