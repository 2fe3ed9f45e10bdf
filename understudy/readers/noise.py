"""What captions say of sounds, such as [Music] or (upbeat music), in the languages of caption makers."""

import re
from functools import cache

_SOUNDS = """
music musik música musica musique muziek müzik muzyka музыка музика musiikki zene muzică hudba glazba μουσική מוזיקה
מוסיקה موسيقى موسیقی संगीत संगीतमय 音楽 音乐 音樂 음악 เสียงเพลง ดนตรี nhạc
applause applaus aplausos applausi applaudissements alkış alkışlar oklaski brawa аплодисменты оплески aplodit
aplausuri potlesk taps tapsi pljesak χειροκρότημα beifall klatschen bifall suosionosoituksia מחיאות تصفيق तालियां
तालियाँ 拍手 掌声 掌聲 鼓掌 박수 ปรบมือ vỗ tay
laughter laughs laugh laughing chuckles chuckling chuckle giggles gelächter lachen lacht risas ríe risos risate rires
gelach gülüşmeler kahkaha gülme śmiech смех сміх skratt naurua nevetés râsete smích smijeh γέλια צחוק ضحك हँसी
हंसी 笑い 笑声 笑聲 笑 웃음 เสียงหัวเราะ cười
cheering cheers cheer jubel ovaciones silence silent stille silencio silenzio тишина inaudible unintelligible
unverständlich inaudibile ininteligible indistinct crosstalk blank_audio blank audio foreign language sound sounds noise
noises gasp gasps gasping cough coughs coughing sneeze sneezes sniffs sniffles sigh sighs sighing groans breathing
inhales exhales whistle whistles whistling humming hums singing sings screaming screams clapping claps bell bells
ringing rings beep beeps beeping typing knocking footsteps static chime chimes throat räuspert räuspern husten hustet
кашель 咳 ため息
"""
_MANNERS = """
upbeat soft softly dramatic gentle light quiet quietly loud loudly background intro outro theme piano guitar rock jazz
electronic orchestral ambient tense happy sad slow fast playing plays continues ends starts begins fades in out stops
clears clearing audience crowd people speaking the a and of off end laute leise sanfte fröhliche spielt suave alegre
douce tiếng
"""
BRACKETS = re.compile(
    r"\[(?:[^\[\]]|\[[^\[\]]*\])*\]|\((?:[^()]|\([^()]*\))*\)|【[^】]*】|（[^）]*）|［[^］]*］|[♪♫♬]+|\*[^*\s][^*]{1,30}\*"
)
_WORD = re.compile(r"[^\W\d]+(?:['’][^\W\d]+)*")
_MARKS = "♪♫♬"


@cache
def _vocabulary() -> tuple[frozenset[str], frozenset[str]]:
    return frozenset(_SOUNDS.split()), frozenset(_MANNERS.split())


def without_noise(text: str) -> tuple[str, int]:
    """`text` without the sounds it names, and how many there were. What a speaker put in brackets stays."""
    if not any(map(text.__contains__, "[(【（［♪♫♬*")):
        return text, 0
    dropped = 0

    def kept(match: re.Match[str]) -> str:
        nonlocal dropped
        if _is_noise(match.group()):
            dropped += 1
            return " "
        return match.group()

    return BRACKETS.sub(kept, text), dropped


def _is_noise(bracket: str) -> bool:
    """Whether nothing but sounds stands in it, and at least one."""
    if bracket[0] in _MARKS:
        return True
    sounds, manners = _vocabulary()
    # Vowel signs of Indian and Thai writing are no letters to `re`.
    plain = bracket.strip("[]()【】（）［］* ").casefold()
    words = [plain] if plain in sounds else _WORD.findall(plain)
    return any(word in sounds for word in words) and all(word in sounds or word in manners for word in words)
