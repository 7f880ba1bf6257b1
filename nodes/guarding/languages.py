"""How an order to forget the rules is put in other languages than English.

Of Latin letters, the patterns are for text without its accents, in lower case.
"""

# ruff: noqa: RUF001
from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

__all__ = ["foreign_orders", "foreign_roles"]

NEAR = 14
"""Characters around a verb in which a negation turns it round: “vergiss nicht, alle Regeln …”."""


@dataclass(frozen=True, slots=True)
class _Order:
    """A sentence that holds all three is an order, unless its verb is negated."""

    verb: re.Pattern[str]
    others: tuple[re.Pattern[str], re.Pattern[str]]
    negated: re.Pattern[str] | None

    def stands_in(self, sentence: str) -> bool:
        """Whether the sentence, in lower case, gives this order."""
        if not all(other.search(sentence) for other in self.others):
            return False
        return any(not self._turned(sentence, verb) for verb in self.verb.finditer(sentence))

    def _turned(self, sentence: str, verb: re.Match[str]) -> bool:
        if self.negated is None:
            return False
        before = sentence[max(0, verb.start() - NEAR) : verb.start()]
        after = sentence[verb.end() : verb.end() + NEAR]
        return self.negated.search(before) is not None or self.negated.search(after) is not None


def _order(verb: str, one: str, other: str, negated: str = "") -> _Order:
    others = (re.compile(one), re.compile(other))
    return _Order(re.compile(verb), others, re.compile(negated) if negated else None)


_FORGET = (
    _order(  # German
        r"\b(?:ignorier|missacht|uberschreib|ubergeh|verwerfe|vergesse|umgeh|vergiss|verwirf)\w*",
        r"\b(?:vorherig|vorig|bisherig|vorangehend|vorausgehend|fruher|obig|samtlich)\w*"
        r"|\b(?:oben|alles?|allen|deinen?|zuvor)\b",
        r"\b(?:anweisung|instruktion|vorgabe|richtlinie|prompt|weisung|regel|befehl)\w*",
        r"\b(?:nicht|nie|niemals)\b",
    ),
    _order(  # French
        r"\b(?:ignor|oubli)(?:e|ez|er|ons)\b|\b(?:neglig|outrepass|contourn)\w+"
        r"|\bne (?:suis|suivez|tiens|tenez|respectez?) (?:pas|plus)\b",
        r"\b(?:precedent|anterieur|prealable)\w*|ci-dessus|\b(?:tous|toutes?|vos|tes|systeme)\b",
        r"\b(?:instruction|consigne|regle|directive|prompt|ordre|indication)s?\b",
        r"\bn'\s?$|\bne\s?$|^\s?(?:pas|jamais)\b",
    ),
    _order(  # Spanish
        r"\bignor(?:a|e|en|ar|ad|es)\b|\bolvid(?:a|e|en|ar|ad|es|ate|ese|ense)\b"
        r"|\bomit(?:e|a|an|ir)\b|\bdesestim\w+|\bcaso omiso\b|\bno (?:sigas?|sigan|hagas caso)\b"
        r"|\bpasa por alto\b",
        r"\b(?:anterior(?:es)?|previ[ao]s?|precedentes?|tod[ao]s|tus|arriba|sistema)\b",
        r"\b(?:instruccion|indicacion|regla|norma|directri|directiva|prompt|orden)\w*",
        r"\b(?:no|nunca|jamas|ni)\b(?: te| se)?\s?$",
    ),
    _order(  # Portuguese
        r"\bignor(?:e|a|em|ar)\b|\besque[cs][ae]\w*|\bdesconsider\w+|\bdescart\w+"
        r"|\bnao siga[ms]?\b",
        r"\b(?:anterior(?:es)?|previ[ao]s?|precedentes|tod[ao]s|acima|sistema)\b"
        r"|\bsuas (?:instruc|regra|diretri)",
        r"\b(?:instruc(?:ao|oes)|regras?|diretri\w+|orientac\w+|ordens|comandos?|prompts?)\b",
        r"\b(?:nao|nunca|jamais)\b(?: se)?\s?$",
    ),
    _order(  # Italian
        r"\bignor(?:a|i|are|ate)\b|\bdimentic(?:a|are|ate|hi|hiamo)\b|\b(?:trascur|tralasci|scart)\w+"
        r"|\bnon (?:seguire|seguite|tenere conto)\b",
        r"\b(?:precedent[ei]|anterior[ei]|sopra|tutt[ei]|tue|vostre|sistema)\b",
        r"\b(?:istruzion|regol|direttiv|indicazion|prompt|ordin|comand)\w*|\blinee guida\b",
        r"\b(?:non|mai)\s?$",
    ),
    _order(  # Dutch
        r"\b(?:negeer|negeren|vergeet|vergeten)\b",
        r"\b(?:vorige|eerdere|voorgaande|bovenstaande|alle|jouw)\b",
        r"\b(?:instructie|regel|richtlijn|opdracht|prompt|aanwijzing)\w*",
        r"\b(?:niet|nooit)\b",
    ),
    _order(  # Polish
        r"\b(?:zignoruj|ignoruj|zapomnij|pomin)\w*",
        r"\b(?:poprzedni|wczesniejsz|powyzsz|wszystki)\w*",
        r"\b(?:instrukcj|polece|zasad|regul|wytyczn|prompt)\w*",
        r"\b(?:nie|nigdy)\s?$",
    ),
    _order(  # Turkish
        r"\b(?:yok say|gormezden gel|goz ardi et|unut|dikkate alma)\w*",
        r"\b(?:onceki|yukaridaki|tum|butun)\b",
        r"\b(?:talimat|kural|yonerge|komut|prompt)\w*",
        r"^(?:ma|mamal)",
    ),
    _order(  # Russian
        r"\b(?:про)?игнорир\w*|\bзабудь\w*|\bзабыть\b|\bотбрось\w*|\bпренебре[гч]\w*"
        r"|\bне (?:следуй|обращай|выполняй|соблюдай)\w*",
        r"\b(?:предыдущ|прежн|прошл|вышеуказанн|предшествующ|системн)\w*|\b(?:выше|все|всех|всё)\b"
        r"|\b(?:свои|твои|ваши)\b",
        r"\b(?:инструкци|указани|правил|команд|промпт|распоряжени|директив)\w*",
        r"\b(?:не|никогда)\s?$",
    ),
    _order(  # Chinese
        "忽略|忽视|忽視|无视|無視|忘记|忘記|忘掉|不要理会|不要理會|不要遵[守循]|不再遵[守循]|抛开|绕过|覆盖",
        "之前|以前|先前|此前|上述|上面|以上|前面|所有|全部|一切|你的|系统|系統",
        "指令|指示|规则|規則|提示|命令|说明|說明|约束|規定|规定",
        "(?:不要|不可|不能|切勿|请勿|請勿|不得|不应|别|別|勿)$",
    ),
    _order(  # Japanese
        "無視し|無視せよ|忘れ|従わない|従うな|破棄し|上書きし",
        "以前|これまで|今まで|前の|先の|上記|以上|すべて|全て|全部|あらゆる|あなたの|システム",
        "指示|命令|ルール|規則|プロンプト|指針|ガイドライン",
        "^(?:ない|なく|ず|ては|てい?ない|るな)",
    ),
    _order(  # Korean
        "무시|잊어|잊으|따르지 마",
        "이전|앞선|위의|위에|모든|기존|지금까지",
        "지시|명령|규칙|프롬프트|지침",
        "^(?:하지|지) ?(?:마|말|않)|^버리지",
    ),
    _order(  # Arabic
        r"\b(?:و?تجاهل|انس[ىَ]?|لا تتبع)\w*",
        r"\b(?:السابق|أعلاه|جميع|كافة|كل)\w*",
        r"\b(?:ال)?(?:تعليمات|أوامر|قواعد|توجيهات)\b",
        r"\bلا\s?$",
    ),
    _order(  # Hindi
        "अनदेखा|नज़रअंदाज़|नजरअंदाज|भूल जा|उपेक्षा",
        "पिछल|पहले|ऊपर|सभी|सारे|पूर्व",
        "निर्देश|आदेश|नियम|प्रॉम्प्ट",
        r"^\s?(?:न |मत |नहीं)",
    ),
)

_KEEP = (
    _order(  # German
        r"\b(?:entfern|losch|ander|bearbeit|streich|verander|geandert|umschreib)\w*",
        r"\b(?:diese[nrs]?) (?:satz|regel|zeile|anweisung|vorgabe|prompt|richtlinie)",
        r"\b(?:nie|niemals|nicht)\b",
    ),
    _order(  # French
        r"\b(?:supprim|modifi|effac|chang|retir|enlev)\w*",
        r"\b(?:cette?|ces) (?:phrase|regle|ligne|consigne|instruction|prompt|directive)",
        r"\b(?:jamais|ne|pas)\b",
    ),
    _order(  # Spanish
        r"\b(?:elimin|borr|modific|cambi|quit|edit|suprim)\w*",
        r"\b(?:est[ae]s?) (?:frase|regla|linea|instruccion|prompt|directriz|norma)",
        r"\b(?:nunca|jamas|no)\b",
    ),
    _order(  # Portuguese
        r"\b(?:remov|apag|alter|modific|exclu|edit|mud)\w*",
        r"\b(?:est[ae]s?|ess[ae]s?) (?:frase|regra|linha|instrucao|prompt|diretriz)",
        r"\b(?:nunca|jamais|nao)\b",
    ),
    _order(  # Italian
        r"\b(?:rimuov|elimin|cancell|modific|cambi|toglier)\w*",
        r"\b(?:quest[aeio]) (?:frase|regola|riga|istruzione|prompt|direttiva)",
        r"\b(?:mai|non)\b",
    ),
    _order(  # Russian
        r"\b(?:удал|измен|меня|редактир|убира|стира)\w*",
        r"\b(?:эт[оуаи]\w*) (?:предложени|правил|строк|инструкци|промпт|указани)",
        r"\b(?:никогда|не|нельзя)\b",
    ),
    _order(  # Chinese
        "删除|刪除|修改|更改|移除|编辑|編輯|改动",
        "(?:这|這|此|本)(?:条|條|句|行|个|個|项)?(?:规则|規則|句子|话|話|提示|指令|说明)",
        "不要|不得|不可|不能|切勿|永远|永遠|禁止|请勿",
    ),
    _order(  # Japanese
        "削除|変更|編集|修正|消さ|消し",
        "この(?:文|ルール|規則|行|指示|プロンプト|ガイドライン)",
        "ないで|してはいけ|してはなら|禁止|するな|絶対に",
    ),
)

# Most texts hold nothing else, and need not be searched for the others.
_LATIN = tuple(order for order in (*_FORGET, *_KEEP) if order.verb.pattern.isascii())

_PROMPT_OPTIMIZER = (
    r"prompt-?\s?(?:optimierer|optimiseur|optimizador|otimizador|ottimizzatore)\b"
    r"|\b(?:optimiseur|optimizador|otimizador|ottimizzatore) d(?:[eio]|el)? ?prompts?\b"
    r"|оптимизатор\w* промпт"
    r"|提示词?(?:优化|優化)(?:器|者)|プロンプト(?:の)?(?:最適化|オプティマイザ)"
)
_ADDRESSED = re.compile(
    r"^\W*(?:\w+ ){0,2}(?:optimierer|optimiseur|optimizador|otimizador|ottimizzatore|оптимизатор"
    r"|优化器|優化器|オプティマイザー?)\s?(?:さん|へ)?\s?[,:、]"
    rf"|{_PROMPT_OPTIMIZER}"
)
_ROLE = re.compile(
    r"^[ \t#>*\[]*(?:系统|系統|システム|система|시스템|systeme|sistema)\]?\s?:"
    r"|(?:系统提示词?|系統提示詞?|システムプロンプト|системный промпт|시스템 프롬프트)\s?:",
    re.MULTILINE,
)
_ENDS = re.compile("[.!?\n;\u3002\u0964]+")


def foreign_roles(text: str) -> Iterator[str]:
    """Every beginning of a line, in lower case, that plays the system."""
    yield from (match.group() for match in _ROLE.finditer(text))


def foreign_orders(text: str) -> Iterator[str]:
    """Every sentence of a text in lower case that tells to forget rules or to keep a rule for ever,
    and whatever speaks to an optimizer."""
    known = _LATIN if text.isascii() else (*_FORGET, *_KEEP)
    likely = [order for order in known if order.verb.search(text)]
    for sentence in _ENDS.split(text):
        if (met := _ADDRESSED.search(sentence)) is not None:
            yield met.group()
        if any(order.stands_in(sentence) for order in likely):
            yield sentence.strip()
