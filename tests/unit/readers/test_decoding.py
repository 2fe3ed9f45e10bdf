"""A text is read in the encoding it is in, or refused with what to do; no file becomes other letters in silence."""

import pytest

from understudy.errors import Refused
from understudy.readers.decoding import decode

TEXTS = {
    "ru": "Сегодня мы говорим о хлебе. Тесто поднимается, потому что дрожжи едят сахар и выделяют газ.",
    "uk": "Тісто піднімається, бо дріжджі їдять цукор. Якщо залишити його надто довго, воно опаде.",
    "el": "Σήμερα μιλάμε για το ψωμί. Η ζύμη φουσκώνει επειδή η μαγιά τρώει ζάχαρη και βγάζει αέριο.",
    "he": "היום נדבר על לחם. הבצק תופח כי השמרים אוכלים סוכר ופולטים גז. לכן האופה מביט בבצק ולא בשעון.",
    "ar": "اليوم نتحدث عن الخبز. يرتفع العجين لأن الخميرة تأكل السكر وتطلق الغاز. إذا تركناه فإنه يهبط.",
    "tr": "Bugün ekmekten söz ediyoruz. Hamur kabarır, çünkü maya şekeri yer ve gaz çıkarır. Işık gibi doğar.",
    "pl": "Ciasto rośnie, ponieważ drożdże zjadają cukier i wydzielają gaz. Jeśli zostawimy je długo, opadnie.",
    "cs": "Těsto kyne, protože kvasnice jedí cukr a uvolňují plyn. Když ho necháme příliš dlouho, spadne.",
    "hu": "A tészta megkel, mert az élesztő megeszi a cukrot. Így van ez a sütőben is, ahol a hő lassan jár.",
    "lt": "Šiandien kalbame apie duoną. Tešla kyla, nes mielės ėda cukrų ir išskiria dujas. Ji sukris.",
    "de": "Heute sprechen wir über Brot. Der Teig geht auf, weil die Hefe Zucker frisst. Größe täuscht.",
    "fr": "La pâte lève parce que la levure mange le sucre. Si on la laisse trop longtemps, elle retombe, voilà.",
    "en": "It’s the yeast – “the baker’s friend” – that eats sugar, and the loaf stands at 30 °C in the café.",
    "zh": "今天我们讲面包。面团会发起来，是因为酵母吃糖并放出气体。师傅看的不是钟，而是面团。",
    "zh-TW": "今天我們講麵包。麵團會發起來，是因為酵母吃糖並放出氣體。師傅看的不是鐘，而是麵團。",
    "ja": "今日はパンについて話します。生地がふくらむのは、酵母が砂糖を食べてガスを出すからです。",
    "ko": "오늘은 빵에 대해 이야기합니다. 반죽이 부풀어 오르는 것은 효모가 설탕을 먹기 때문입니다.",
    "th": "วันนี้เราพูดถึงขนมปัง แป้งขึ้นเพราะยีสต์กินน้ำตาลและปล่อยก๊าซออกมา",
}
OLD = {
    "ru": ["cp1251", "koi8_r", "iso8859_5", "mac_cyrillic"], "uk": ["cp1251", "koi8_u"], "el": ["cp1253", "iso8859_7"],
    "he": ["cp1255"], "ar": ["cp1256", "iso8859_6"], "tr": ["cp1254"], "pl": ["cp1250", "iso8859_2"],
    "cs": ["cp1250", "iso8859_2"], "hu": ["cp1250"], "lt": ["cp1257"], "de": ["cp1252", "mac_roman"],
    "fr": ["cp1252", "mac_roman"], "en": ["cp1252", "mac_roman"], "zh": ["gb18030"], "zh-TW": ["big5"],
    "ja": ["cp932", "euc_jp", "iso2022_jp"], "ko": ["cp949"], "th": ["cp874"],
}  # fmt: skip


@pytest.mark.parametrize(("language", "encoding"), [(code, name) for code in OLD for name in OLD[code]])
def test_a_text_in_an_old_encoding_is_read_and_a_scrap_of_it_never_wrong(language: str, encoding: str) -> None:
    text = TEXTS[language]
    assert decode(text.encode(encoding)) == text
    for length in (6, 12, 20, 30):
        try:
            assert decode(text[:length].encode(encoding)) == text[:length]
        except Refused as refusal:
            assert str(refusal) == "the encoding is not known; save it as UTF-8"


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "utf-32", "utf-32-le"])
def test_unicode_is_read_with_and_without_its_mark(encoding: str) -> None:
    for text in TEXTS.values():
        captions = f"1\n00:00:01,000 --> 00:00:04,000\n{text}\n"
        assert decode(captions.encode(encoding)) == captions


def test_utf_8_with_a_broken_letter_stays_utf_8() -> None:
    raw = (TEXTS["ru"] * 9).encode()
    assert decode(raw[:21] + b"\xff" + raw[22:]).count("\ufffd") <= 2


@pytest.mark.parametrize(
    ("head", "encoding"),
    [
        ('<meta charset="windows-1251">', "cp1251"),
        (f"<!-- {'-' * 5000} --><META http-equiv=x content='text/html; charset=shift_jis'>", "cp932"),
        ('<?xml version="1.0" encoding="gb2312"?>', "gb18030"),
        ('<meta charset="iso-8859-1">', "cp1251"),  # a program wrote that, not a person
    ],
)
def test_a_declaration_counts_wherever_it_stands_unless_it_is_the_usual_lie(head: str, encoding: str) -> None:
    text = head + {"cp1251": TEXTS["ru"], "cp932": TEXTS["ja"], "gb18030": TEXTS["zh"]}[encoding]
    assert decode(text.encode(encoding), declared=True) == text


@pytest.mark.parametrize(
    "raw", [b"\x00\x01\x02\x03" * 100, bytes(range(256)) * 4, b"\x7fELF\x02\x01" + b"\0\xff\x90" * 99]
)
def test_what_is_no_text_is_refused(raw: bytes) -> None:
    with pytest.raises(Refused, match="binary|not known"):
        decode(raw)
