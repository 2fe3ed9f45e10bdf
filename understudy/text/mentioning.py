# ruff: noqa: E501
"""
Phrases that speak of the talk or its speaker, in other languages than English and German.

One table for questions (`understudy.text.standalone`) and for answers (`understudy.gates.mentions`); English and German
have finer rules there. The last group of a match is the noun, so that a caller can ask whether it is the subject.
"""

import re
from functools import cache
from typing import NamedTuple

_LATIN: dict[str, tuple[str, str]] = {}
_OTHER: dict[str, tuple[str, str]] = {}
"""Language -> its pattern, and the pieces one of which any match has in it, in small letters."""

# French
_W = r"vidéo|conférence|exposé|épisode|podcast|entretien|présentation|émission|webinaire|discours|reportage|causerie"
_P = (
    r"orat(?:eur|rice)|conférenci(?:er|ère)|intervenante?|présentat(?:eur|rice)|animat(?:eur|rice)|narrat(?:eur|rice)"
    r"|formateur|formatrice|enseignante?|professeure?|auteure?|autrice|invitée?|locut(?:eur|rice)"
)
_S = (
    r"(?:dit|explique|affirme|décrit|mentionne|recommande|conseille|suggère|précise|indique|raconte|souligne|pense|parle"
    r"|évoque|montre|présente|estime|définit|compare|insiste|rappelle|aborde|considère|entend)(?:-t-(?:il|elle|on))?"
)
_LATIN["fr"] = (
    rf"\bdans (?:la |le |l['’])({_W}),? (?:il|elle|on) (?:nous )?{_S}|"
    rf"\b(?:dans|de|lors de|pendant) (?:cette|cet|ce) ({_W}|transcription)\b"
    rf"|\b(?:selon|d['’]après) (?:l['’]|la |le |cette |cet |ce )({_W}|{_P}|transcription|texte|extrait)\b"
    rf"|\b(?:l['’]|le |la |cet |cette )({_P}|{_W}) (?:nous |en |y |se |lui )?{_S}\b"
    rf"|\b{_S} (?:l['’]|le |la |cet |cette )({_P}|{_W})\b|\b(?:la|cette) (transcription)\b"
    r"|\b(?:mentionn|expliqu|présent|évoqu|cit|abord|montr|recommand|décri|di)(?:é|te?)?e?s? (?:\w+ )?(?:dans|par|lors de|au cours de)"
    rf" (?:la |l['’]|le |cette |cet |ce )({_W}|{_P}|texte)\b"
    r"|\b(?:selon|d['’]après|sur la base|à partir|compte tenu) ?(?:de |des |les |ces )+(informations) (?:fournies|données|disponibles|présentées)",
    "dans ce|de ce|lors de ce|selon|après|orat|conférenc|interven|présentat|animat|narrat|format|enseign|profess|aut|invité"
    "|locut|transcription|vidéo|exposé|épisode|podcast|entretien|émission|webinaire|discours|reportage|causerie|informations",
)

# Spanish
_W = r"v[ií]deo|charla|conferencia|ponencia|episodio|podcast|presentación|entrevista|seminario|discurso|transcripción"
_P = (
    r"ponente|orador|oradora|conferenciante|conferencista|presentadora?|locutora?|profesora?|docente|instructora?|hablante"
    r"|entrevistad[oa]|expositora?|disertante|autora?|narradora?|invitad[oa]"
)
_S = (
    r"(?:dice|dijo|explica|explicó|afirma|describe|menciona|mencionó|recomienda|aconseja|sugiere|cuenta|habla|comenta"
    r"|señala|piensa|opina|cree|muestra|presenta|destaca|considera|define|compara|subraya|insiste|sostiene|propone|entiende)"
)
_LATIN["es"] = (
    rf"\ben (?:el|la) ({_W}),? (?:él|ella|nos|se)? ?{_S}|"
    rf"\b(?:en|de|durante) (?:este|esta) ({_W})\b"
    rf"|\b(?:según|de acuerdo con|de acuerdo a) (?:el|la|este|esta) ({_W}|{_P}|texto|fragmento|pasaje)\b"
    rf"|\b(?:el|la|este|esta) ({_P}|{_W}) (?:también |nos |lo |la |se )*{_S}\b|\b{_S} (?:el|la) ({_P}|{_W})\b"
    r"|\b(?:mencionad|explicad|descrit|dich|presentad|comentad|citad|recomendad)[oa]s? (?:\w+ )?(?:en|por|durante)"
    rf" (?:el|la|este|esta) ({_W}|{_P}|texto)\b|\b(?:se|que) (?:menciona|explica|dice|habla|describe)n? en (?:el|la|este|esta) ({_W})\b"
    r"|\b(?:según|con base en|en base a|de acuerdo con|basándo(?:me|nos|se)? en) la (información)"
    r" (?:proporcionada|dada|facilitada|disponible|presentada|suministrada|brindada)",
    "deo|charla|conferenci|ponen|episodio|podcast|presenta|entrevista|seminario|discurso|transcrip|orador|locutor|profesor"
    "|docente|instructor|hablante|expositor|disertante|autor|narrador|invitad|según el|según la|de acuerdo|información",
)

# Italian
_W = r"video|lezione|conferenza|puntata|episodio|podcast|intervista|presentazione|intervento|discorso|seminario|webinar"
_P = (
    r"relat(?:ore|rice)|orat(?:ore|rice)|conferenziere|presentat(?:ore|rice)|docente|insegnante|istrut(?:tore|trice)"
    r"|professor(?:e|essa)|condut(?:tore|trice)|aut(?:ore|rice)|narrat(?:ore|rice)|ospite"
)
_S = (
    r"(?:dice|spiega|afferma|descrive|menziona|raccomanda|consiglia|suggerisce|racconta|parla|sottolinea|pensa|ritiene"
    r"|crede|mostra|presenta|considera|definisce|confronta|sostiene|cita|ricorda|intende)"
)
_LATIN["it"] = (
    rf"\bnel(?:la |l['’]| )({_W}),? (?:lui |lei |si |ci )?(?:viene |è stato )?(?:{_S}|spiegato|detto|mostrato)|"
    rf"\b(?:in|di|durante) (?:quest[oa] |quest['’])({_W}|trascrizione)\b"
    rf"|\b(?:secondo|stando al|stando alla) ?(?:il |la |l['’]|lo |quest[oa] )?({_P}|{_W}|testo|trascrizione|brano)\b"
    rf"|\b(?:il |la |l['’]|lo |quest[oa] )({_P}|{_W}) (?:ci |lo |si |anche )*{_S}\b|\b{_S} (?:il |la |l['’]|lo )({_P}|{_W})\b"
    r"|\b(?:menzionat|spiegat|descritt|dett|presentat|citat|trattat|consigliat)[oaie] (?:\w+ )?(?:nel |nella |nell['’]|in quest[oa] "
    rf"|dal |dalla |dall['’])({_W}|{_P}|testo)\b|\b(?:la|questa) (trascrizione)\b"
    r"|\b(?:in base alle|sulla base delle|secondo le) (informazioni) (?:fornite|date|disponibili|presentate)",
    "quest|secondo|stando|relat|orat|conferenz|presentat|docente|insegnante|istrut|professor|condut|aut|narrat|ospite|video|lezione"
    "|puntata|episodio|podcast|intervist|presentazione|intervento|discorso|seminario|webinar|trascrizione|informazioni|testo",
)

# Portuguese
_W = r"v[ií]deo|palestra|aula|conferência|episódio|podcast|entrevista|apresentação|seminário|live|discurso|transcrição"
_P = (
    r"palestrante|oradora?|apresentadora?|locutora?|professora?|instrutora?|docente|conferencista|entrevistad[oa]|falante"
    r"|ministrante|autora?|narradora?|convidad[oa]"
)
_S = (
    r"(?:diz|disse|explica|explicou|afirma|descreve|menciona|mencionou|recomenda|aconselha|sugere|conta|fala|comenta"
    r"|destaca|pensa|acha|acredita|mostra|apresenta|considera|define|compara|defende|ressalta|cita|propõe|entende)"
)
_LATIN["pt"] = (
    rf"\bn[oa] ({_W}),? (?:ele |ela |se |nos |é )?(?:{_S}|explicado|dito|mostrado|mencionado)|"
    rf"\b(?:neste|nesta|deste|desta|nesse|nessa|durante este|durante esta) ({_W})\b"
    rf"|\b(?:segundo|de acordo com|conforme) (?:o|a|este|esta|esse|essa) ({_W}|{_P}|texto|trecho)\b"
    rf"|\b(?:o|a|este|esta) ({_P}|{_W}) (?:também |nos |se )*{_S}\b|\b{_S} (?:o|a) ({_P}|{_W})\b"
    r"|\b(?:mencionad|explicad|descrit|dit|apresentad|comentad|citad|recomendad)[oa]s? (?:\w+ )?(?:no|na|neste|nesta|pelo|pela)"
    rf" ({_W}|{_P}|texto)\b"
    r"|\b(?:com base nas|de acordo com as|segundo as|conforme as) (informações) (?:fornecidas|dadas|disponíveis|apresentadas)",
    "deo|palestra|aula|conferên|episódio|podcast|entrevista|apresenta|seminário|live|discurso|transcrição|orador|locutor|professor"
    "|instrutor|docente|conferencista|falante|ministrante|autor|narrador|convidad|texto|trecho|informações",
)

# Turkish; endings are many, so that a verb is known by its stem.
_W = r"video|konuşma|podcast|sunum|söyleşi|röportaj|konferans|seminer|yayın"
_P = r"konuşmacı|sunucu|anlatıcı|eğitmen|öğretmen|moderatör|yazar"
_S = r"(?:söyl[eü]|anlat|açıkl[aı]|belirt|vurgul[au]|öner|bahsed|bahset|değin|ifade ed|savun|tanıml|aktar|tavsiye ed|düşün)\w*"
_LATIN["tr"] = (
    rf"\bbu ({_W}|ders|bölüm|kayıt)(?:[dt][ae](?:ki)?|sında|nın|nun|in|un)\b|\b({_P})\w{{0,3}}[ ,][^.!?\n]{{0,160}}?{_S}"
    rf"|\b({_P}|{_W}|metn|metin|transkript)(?:ya|ye|a|e) göre\b|\b({_W})\w{{0,4}} (?:söylenen|anlatılan|bahsedilen|söylendi|anlatıld)\w*"
    r"|\b(?:verilen|sağlanan|sunulan|mevcut) (bilgi|metn)\w* (?:göre|dayanarak|ışığında)",
    "bu |konuşmac|sunucu|anlat|eğitmen|öğretmen|moderat|yazar|göre|göre|video|konuşma|podcast|sunum|söyleş|röportaj|konferans|seminer"
    "|yay|bilgi|metn",
)

# Dutch
_W = r"video|lezing|aflevering|podcast|presentatie|interview|toespraak|webinar"
_P = r"spreker|spreekster|presentator|presentatrice|docent|auteur|verteller|gastheer|instructeur"
_S = r"(?:zegt|legt|noemt|beschrijft|vertelt|beweert|adviseert|raadt|bedoelt|denkt|gelooft|benadrukt|bespreekt|stelt)"
_LATIN["nl"] = (
    rf"\bin (?:deze|dit) ({_W}|transcript)\b|\bvolgens (?:de|deze|het|dit) ({_P}|{_W}|tekst|transcript|fragment)\b"
    rf"|\b(?:de|deze) ({_P}|{_W}) (?:ook )?{_S}\b|\b{_S} (?:de|deze) ({_P}|{_W})\b|\bhet (transcript)\b"
    r"|\bop basis van de (?:verstrekte|gegeven|beschikbare) (informatie)\b",
    "deze|dit |volgens|spreker|spreekster|presentat|docent|auteur|verteller|gastheer|instructeur|transcript|informatie|video|lezing"
    "|aflevering|podcast|interview|toespraak|webinar",
)

# Polish
_W = r"film|wykład|odcin|nagrani|podca|prezentacj|rozmow|wywiad|wystąpieni|webinar|transkrypcj|wideo"
_P = r"prelegent|mówc|wykładowc|prowadząc|narrator|autor|prezenter|instruktor|gość"
_S = r"(?:mówi|wyjaśnia|opisuje|wspomina|poleca|radzi|twierdzi|uważa|podkreśla|tłumaczy|zaleca|sądzi|opowiada)"
_LATIN["pl"] = (
    rf"\bw (?:tym|tej) ({_W})\w*|\b(?:według|zdaniem) ({_P})\w*|\b({_P})\w{{0,3}} (?:też |także )?{_S}\b|\b{_S} ({_P})\w*"
    r"|\bna podstawie (?:podanych|dostarczonych|dostępnych) (informacji)\b|\b(transkrypcj)\w+",
    "w tym |w tej |według|zdaniem|prelegent|mówc|wykład|prowadz|narrator|autor|prezenter|instruktor|gość|informacji|transkrypcj",
)

# Russian
_W = (
    r"видео|лекци[ияею]|доклад\w{0,2}|выступлени\w{1,2}|подкаст\w{0,2}|выпуск\w{0,2}|эпизод\w{0,2}|интервью"
    r"|презентаци\w|вебинар\w{0,2}|ролик\w{0,2}|расшифровк\w|стенограмм\w|транскрип\w*"
)
_P = (
    r"лектор\w{0,2}|докладчи[кц]\w{0,3}|спикер\w{0,2}|выступающ\w{2,3}|ведущ(?:ий|ая|его|ему)|преподавател\w{1,3}"
    r"|автор(?:а|у|ом|ша)?|рассказчик\w{0,2}|диктор\w{0,2}|интервьюер\w{0,2}"
)
_S = (
    r"(?:говорит|сказал[аи]?|объясня(?:ет|л)|объяснил[аи]?|утверждает|описывает|упоминает|упомянул[а]?|рекомендует|советует"
    r"|предлагает|рассказывает|рассказал[а]?|отмечает|подч[её]ркивает|считает|думает|полагает|показывает|приводит|имеет в виду)"
)
_OTHER["ru"] = (
    rf"\bв (?:этом |этой )?({_W}|тексте),? (?:говорится|рассказыва\w+|упомина\w+|объясня\w+|показыва\w+|описыва\w+|сказано|он {_S}|она {_S})\b|"
    rf"\b(?:в|из|во время) (?:этом|этой|этого|данном|данной) ({_W})\b|\b(?:согласно|по словам|по мнению) ({_W}|{_P}|тексту)\b"
    rf"|\b({_P}|{_W}) (?:также |ещё |нам )?{_S}\b|\b{_S} ({_P})\b"
    rf"|\b(?:упомянут|сказан|говорится|описан|назван|показан|рассмотрен|объяснен|рассказыва)\w* в (?:этом |этой |данном )?({_W}|тексте)\b"
    r"|\b(?:исходя из|на основе|на основании|согласно|судя по) (?:предоставленн|привед[её]нн|имеющ|данн)\w+ (информаци|текст|данн)\w*",
    "этом|этой|этого|данн|согласно|по словам|по мнению|лектор|докладч|спикер|выступающ|ведущ|преподават|автор|рассказ|диктор"
    "|интервью|видео|лекци|подкаст|выпуск|эпизод|ролик|исходя|на осн|судя|текст|презентац|вебинар|расшифров|стенограм|транскрип|доклад"
    "|выступлен",
)

# Chinese, both scripts
_W = r"视频|影片|演讲|讲座|播客|节目|访谈|采访|录音|報告|视频|講座|演講|視頻|節目|訪談"
_P = r"演讲者|讲者|讲师|主讲人|发言人|主持人|说话者|演讲人|主播|博主|嘉宾|受访者|講者|演講者|講師|作者|叙述者|讲述者|授课老师"
_S = r"说|說|认为|認為|表示|解释|解釋|提到|指出|谈到|談到|强调|建议|建議|介绍|讲到|覺得|觉得|看待|描述|推荐|提及|讲述"
_OTHER["zh"] = (
    rf"(?:这个|这段|这次|这场|这部|这期|这集|本期|本次|本集|该|這個|這段|這次)({_W})|({_P})[^，。？！；、\n]{{0,12}}?(?:{_S})"
    rf"|({_W})(?:里|中|内|裡)?(?:所)?(?:提到|说到|讲到|谈到|介绍|解释|指出|认为|说了|讲了)|(?:根据|按照|依照|据)({_P}|{_W}|文本|原文|文中|上文|这段)"
    r"|(?:根据|按照|依据|基于|根據)(?:所|已)?(?:提供|给出|给定|上述|以上|现有|提供)的?(信息|内容|资料|文本|材料|資訊)"
    r"|(转录|逐字稿|文字稿|字幕)(?:文本|内容)?(?:中|里|提到|显示)|(文中)(?:提到|说|指出)",
    "这|這|本|该|者|讲|演|人|主|嘉宾|频|影片|播客|节目|访谈|采访|录音|报|根|按|依|据|基|字|转|文中|講|師",
)

# Japanese
_W = r"動画|ビデオ|講演|講義|トーク|ポッドキャスト|エピソード|番組|インタビュー|プレゼンテーション|プレゼン|セミナー|スピーチ|対談"
_P = r"話者|話し手|講師|講演者|発表者|登壇者|司会者|語り手|解説者|出演者|インタビュアー|著者|筆者|作者"
_S = r"述べ|説明し|話し|言って|言い|言う|語っ|語り|強調し|指摘し|勧め|紹介し|考え|主張し|触れ|挙げ|解説し"
_OTHER["ja"] = (
    rf"(?:この|本|今回の)({_W})(?:で|の中|に|の|は|が)|({_P})(?:は|が|の)[^。？！\n]{{0,80}}?(?:{_S})|({_P}|{_W}|本文)によ(?:ると|れば)"
    rf"|({_W})(?:の中)?で(?:は)?[^。、\n]{{0,20}}?(?:述べ|説明され|紹介され|言及され|触れられ|話され|語られ)"
    r"|(?:提供|与え|提示)(?:された|られた)(情報|文章|テキスト)|(書き起こし|文字起こし|トランスクリプト)",
    "この|本|今回|者|師|手|アー|動画|ビデオ|講演|講義|トーク|キャスト|エピソード|番組|インタビュー|プレゼン|セミナー|スピーチ|対談"
    "|された|られた|起こし|トランス",
)

# Korean
_W = r"영상|동영상|비디오|강연|강의|팟캐스트|에피소드|인터뷰|발표|방송|대담"
_P = r"화자|연사|강연자|발표자|강사|진행자|해설자|출연자|저자|필자"
_OTHER["ko"] = (
    rf"(?:^|[^가-힣])(?:이|이번|본|해당) ({_W})(?:에서|은|는|의|에|을|를)|({_P})(?:는|은|가|이|께서)[^.?\n]{{0,80}}?"
    r"(?:말하|말합|말했|말씀|설명|언급|강조|추천|주장|생각|소개|지적|이야기)"
    rf"|({_P}|{_W}|본문|대본)에 따르면|(?:제공된|주어진) (정보|내용|텍스트)|(녹취록|스크립트)에",
    "영상|비디오|강연|강의|팟캐스트|에피소드|인터뷰|발표|방송|대담|자|연사|강사|본문|대본|정보|내용|텍스트|녹취록|스크립트",
)

# Arabic
_W = r"الفيديو|المحاضرة|المقطع|الحلقة|البودكاست|المقابلة|الخطاب|الندوة|التسجيل|اللقاء|النص"
_P = r"المتحدثة?|المحاضرة?|المقدمة?|الضيف|المذيعة?|المدربة?|المدرسة?|الخطيب|المؤلفة?|الكاتبة?|الراوي"
_S = r"[يت](?:قول|شرح|ذكر|وضح|رى|عتقد|ؤكد|صف|نصح|وصي|شير|تحدث|بين|ناقش|فسر|قصد)|قال|شرح|ذكر|أوضح|أشار|تحدث|أكد"
_OTHER["ar"] = (
    rf"كما (?:ورد|ذ[\u064b-\u0652]?كر|جاء|قيل|ش[\u064b-\u0652]?رح|أشار|يقول|يوضح) (?:في )?({_W}|{_P})|"
    rf"(?:في|من|خلال) (?:هذا|هذه) ({_W})|(?<!\w)(?:و|ف)?(?:{_S}) (?:لنا )?({_P}|{_W})(?!\w)|(?<!\w)({_P}) (?:أيض[\w\u064b-\u0652]* )?(?:{_S})(?!\w)"
    rf"|(?:وفق|طبق)[\w\u064b-\u0652]* لل?(متحدث|محاضر|فيديو|نص|معلومات|مؤلف|مقطع)\w*|(?<!\w)(?:بحسب|حسب) ({_W}|{_P})(?!\w)"
    r"|(?:بناء|استناد|اعتماد)[\w\u064b-\u0652]* (?:على|إلى) (المعلومات|النص) ?(?:المقدم|المعطا|المتوفر|المتاح|الوارد|المذكور)?",
    "هذا|هذه|المتحدث|المحاضر|المقدم|الضيف|المذيع|المدر|الخطيب|المؤلف|الكاتب|الراوي|الفيديو|المقطع|الحلقة|البودكاست|المقابلة|الخطاب"
    "|الندوة|التسجيل|اللقاء|النص|وفق|طبق|المعلومات",
)

# Hindi; the marks of vowels are no letters to `re`, so that no edge of a word can be asked for.
_W = r"वीडियो|व्याख्यान|भाषण|पॉडकास्ट|एपिसोड|साक्षात्कार|प्रस्तुति|कार्यक्रम|लेक्चर|प्रतिलेख|ट्रांसक्रिप्ट"
_P = r"वक्ता|प्रस्तुतकर्ता|व्याख्याता|मेज़बान|प्रशिक्षक|शिक्षक|लेखक|कथावाचक"
_S = r"कहत|बतात|कहा|बताया|समझात|समझाया|मानत|सुझाव|सलाह|उल्लेख|ज़ोर|सोचत|वर्णन"
_OTHER["hi"] = (
    rf"इस ({_W})|({_P})(?: ने)? [^।?\n]{{0,80}}?(?:{_S})|({_P}|{_W}) के अनुसार|({_W}) में (?:बताया|कहा|समझाया|दिखाया)"
    r"|(?:दी गई|प्रदान की गई|दिए गए|उपलब्ध) (जानकारी|पाठ) के (?:आधार|अनुसार)",
    "इस |वक्ता|प्रस्तु|व्याख्या|मेज़बान|प्रशिक्षक|शिक्षक|लेखक|कथावाचक|वीडियो|भाषण|पॉडकास्ट|एपिसोड|साक्षात्कार|कार्यक्रम|लेक्चर"
    "|प्रतिलेख|ट्रांसक्रिप्ट|जानकारी|पाठ",
)

_LITERATURE = re.compile(
    r"narrat|narrad|novel|poem|poet|stor(?:y|ies)|essay|fiction|literat|book|reader|writer|roman|livre|lect(?:eur|or|ura)|autor|auteur"
    r"|author|libr[oe]|erzähl|buch|gedicht|yazar|kitap|anlatıcı|chapter|thriller|cite|citation|quot|essay|review|thesis|article|\bpaper|chapitre|capítulo|capitolo|kapitel|книг|故事|读者|讀者|読者|роман|рассказ|автор|小说|小説|作者|作家|叙述|語り|مؤلف|رواي|الراوي|كتاب"
    r"|लेखक|उपन्यास|कहानी|कथा|저자|소설|작가|powieś|książ",
    re.IGNORECASE,
)
_WRITERS = re.compile(
    r"aut|narr|writ|verteller|erzähl|автор|рассказчик|作者|叙述|讲述|著者|筆者|語り手|المؤلف|الكاتب|الراوي|लेखक|कथा|yazar|anlatıcı|저자|필자",
    re.IGNORECASE,
)
_STEM = 5


class Mention(NamedTuple):
    """The words that speak of the talk, and the noun among them."""

    text: str
    noun: str


def mention(text: str, low: str) -> Mention | None:
    """The first mention of a talk or speaker in `text`; `low` is it in small letters, to look for pieces in."""
    for pieces, pattern in _compiled(text.isascii()):
        if any(piece in low for piece in pieces) and (match := pattern.search(text)):
            return Mention(match.group(), match[match.lastindex or 0])
    return None


_FIELDS = [
    (re.compile(words, re.IGNORECASE), re.compile(f"{words}|{more}", re.IGNORECASE))
    for words, more in (
        (
            "video|recording|livestream|vídeo|vidéo|видео|视频|動画",
            "film|clip|camera|footage|edit|caption|subtitle|youtube|teleprompter|schnitt|untertitel|剪|編集|монтаж",
        ),
        ("host|guest|interview|podcast|episode", "parasit|dinner|party|radio|hotel"),
        (
            "speaker|presenter|lectur|talk|presentation|webinar|seminar|sprecher|redner|referent",
            "audience|stage|slide|speech|loudspeaker|amplif|teleprompter",
        ),
        ("teacher|instructor|lehrer|dozent", "student|pupil|school|class|lesson|exam|homework|schul|unterricht"),
        ("text|passage", "paragraph|sentence|word|writing|typograph|page|font|translat"),
    )
]
"""Nouns of a talk, and the words of a question that make them a subject."""


def is_subject(noun: str, question: str) -> bool:
    """Whether `question` speaks of `noun` too, or of its field: schools, films, or books, whose writer is no speaker."""
    if noun[:_STEM].lower() in question.lower():
        return True
    if any(nouns.match(noun) and field.search(question) for nouns, field in _FIELDS):
        return True
    return bool(_WRITERS.match(noun) and _LITERATURE.search(question))


@cache
def _compiled(ascii_only: bool) -> list[tuple[tuple[str, ...], re.Pattern[str]]]:
    table = _LATIN if ascii_only else _LATIN | _OTHER
    return [(tuple(pieces.split("|")), re.compile(pattern, re.IGNORECASE)) for pattern, pieces in table.values()]
