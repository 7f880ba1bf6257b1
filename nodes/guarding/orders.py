"""Words that speak to whoever rewrites a prompt, or take its place."""

from __future__ import annotations

import functools
import re

from tracetune.nodes.guarding.disguises import readings
from tracetune.nodes.guarding.languages import foreign_orders, foreign_roles

__all__ = ["orders"]

_RULES = r"(?:instructions?|rules?|prompts?|guidelines?|guards?|directions?|directives?|orders)"
_KEEP = r"\b(?:never|do not|don't|must not|may not|you must never)"
_EDIT = r"chang|remov|delet|edit|alter|rewrit|modif|updat|optimi[sz]|improv"
_PASSAGE = r"(?:line|sentence|rule|instruction|guideline|prompt)s?\b"
_NOT = r"(?<!\bnot )(?<!\bnever )(?<!n't )(?<!n\u2019t )(?<!\bcannot )"
_ORDERS = re.compile(
    rf"\b{_NOT}(?:ignore|disregard|forget|override|bypass|discard|set aside|pay no attention to)"
    r"\b[^.!?\n]{0,40}"
    r"\b(?:previous|prior|above|earlier|preceding|foregoing|former|system|these|those|your|all)\b"
    rf"[^.!?\n]{{0,30}}\b{_RULES}\b"
    rf"|\b{_NOT}(?:ignore|disregard|forget) (?:everything|all|anything|whatever)\b[^.!?\n]{{0,20}}"
    r"\b(?:above|before|earlier|previous(?:ly)?|prior|told|said|instructed)\b"
    rf"|(?:{_KEEP}|\bno longer|\bstop) (?:follow|obey|heed|comply with|adher)\w*[^.!?\n]{{0,30}}"
    rf"\b(?:previous|prior|above|earlier|preceding|system)\b[^.!?\n]{{0,20}}\b{_RULES}\b"
    rf"|\b(?:previous|prior|above|earlier|preceding) {_RULES} (?:no longer|(?:are|is) "
    r"(?:now )?(?:void|cancel+ed|revoked|obsolete|replaced|superseded|no longer))\b"
    rf"|{_KEEP} (?:ever )?(?:{_EDIT})\w* (?:this|these) {_PASSAGE}"
    rf"|\b(?:this|these) {_PASSAGE} (?:must|may|shall|should|can)(?:not|n't| not| never) be "
    rf"(?:{_EDIT}|kept out)"
    rf"|\b(?:{_EDIT}|maintain|tun)\w* (?:this|these|the) (?:system )?prompts?\b"
    r"|\b(?:dear|hey|hello|attention|note to|to) (?:the )?optimi[sz]er\b|\bmeta[- ]agent\b"
    r"|\bas (?:the|an?) (?:prompt )?optimi[sz]er\b|\bprompt optimi[sz]er\b|\btracetune\b"
    r"|\b(?:you are|you're|when|while|whoever is|if you) (?:now )?(?:asked to )?"
    r"(?:updat|optimi[sz]|improv|rewrit|tun|edit)(?:e|es|ing)\b[^.!?\n]{0,20}\bprompts?\b"
    rf"|\b{_NOT}(?:ignore|disregard|forget|override|bypass)\b[^.!?\n]{{0,30}}\b{_RULES}"
    r"\b[^.!?\n]{0,10}\b(?:above|before|so far)\b"
    r"|\bnever mind\b[^.!?\n]{0,30}\b(?:above|before|so far)\b"
    r"|\b(?:keep|retain|preserve|leave|repeat|include)\b[^.!?\n]{0,20}\b(?:this|these)\b[^.!?\n]{0,20}"
    r"\b(?:every|all|any|each|the next|future)\b[^.!?\n]{0,15}"
    r"\b(?:version|revision|rewrite|edit)s?\b"
    r"|\bwhoever (?:edits|rewrites|updates|changes|revises|optimi[sz]es)\b"
    r"|\bthe (?:prompt )?optimi[sz]er (?:must|should|shall|has to|will|may|is to|needs? to)\b"
    r"|\b(?:new|updated|real|actual) system prompt\b|\bsystem prompt:"
    r"|<\|[^|>\n]{1,30}\|>|\[/?INST\]|<</?SYS>>",
    re.IGNORECASE | re.MULTILINE,
)
_ROLES = re.compile(
    r"^[^\w\n]*optimi[sz]er *[:,]|^[ \t#>*]*\[?system\]? *:|^[ \t#>*]*\[system\]",
    re.IGNORECASE | re.MULTILINE,
)
_TAG_NAMES = (
    "agents answer changes current_prompt data evidence feedback guidelines hypotheses "
    "parameters prompt recommendations refused run system text to_optimize trajectories "
    "update_instructions"
)
_TAGS = _TAG_NAMES.split()
_TAG = re.compile(rf"<\s*/?\s*(?:(?:{'|'.join(_TAGS)})|text-[0-9a-f]{{16}})\b[^<>\n]*>?", re.I)


# A line that goes on in the next one.
_WRAPPED = re.compile(r"(?<=[\w,])[ \t]*\r?\n[ \t]*(?=[^\W\d_])")


@functools.lru_cache(maxsize=16)
def orders(text: str) -> frozenset[str]:
    """What speaks to whoever rewrites the prompt, or takes its place; tags of our own prompts.

    English in many forms; in other languages, orders to forget the rules or to keep one for ever.
    """
    found: set[str] = set()
    for reading in readings(text):
        joined = _WRAPPED.sub(" ", reading)
        for pattern, where in ((_ROLES, reading), (_ORDERS, joined), (_TAG, reading)):
            found |= {match.group() for match in pattern.finditer(where)}
        found.update(foreign_roles(reading.casefold()))
        found.update(foreign_orders(joined.casefold()))
    return frozenset(" ".join(order.split()).casefold() for order in found)
