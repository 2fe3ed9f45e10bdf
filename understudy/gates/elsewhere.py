# ruff: noqa: E501
"""Refusals and orders to a model in other languages than English: what the gates of endings and instructions look for."""

import re

from understudy.gates.guarded import Guarded

REFUSAL = Guarded(
    # German
    r"\bals (?:ki|k[üu]nstliche intelligenz|sprachmodell)\b(?=\s*,|\s+(?:kann|habe|bin|darf))"
    r"|\b(?:ich kann|kann ich) (?:diese|die|ihre|deine) frage (?:leider )?nicht"
    r"|\b(?:der|dieser|im) (?:vortrag|text|transkript) (?:sagt|erwähnt|nennt|enthält|behandelt|geht) (?:das "
    r"|dazu |dies |darauf )?(?:nichts|nicht|kein)"
    r"|\b(?:dazu|darüber|hierzu) kann ich (?:leider )?(?:nichts|keine)|\b(?:mir liegen"
    r"|ich habe) (?:leider )?keine (?:ausreichenden )?(?:informationen|angaben)"
    r"|\btut mir leid, (?:aber )?(?:ich|dazu|diese|das) (?:kann|habe|frage)|\b(?:wird|werden) (?:im"
    r"|in de[rn]) (?:\w+ )?(?:vortrag|text|angaben|informationen)"
    r" nicht (?:behandelt|erwähnt|genannt)"
    # French
    r"|\b(?:je ne (?:peux|puis) (?:malheureusement )?pas (?:répondre|vous aider|fournir)"
    r"|je ne suis pas (?:en mesure|capable) de|je ne dispose pas (?:d['’]|de |des )|je n['’]ai pas (?:assez |suffisamment )?d['’]information"
    r"|en tant qu['’](?:ia|intelligence artificielle|assistant|modèle)|(?:la vidéo|le texte|la transcription"
    r"|la conférence) ne (?:mentionne|précise|dit|parle)"
    r"|aucune information (?:\w+ ){0,6}(?:n['’]est|n['’]a|ne))\b"
    # Spanish, Portuguese, Italian
    r"|\b(?:no puedo (?:responder|contestar|ayudar(?:te|le)?) |no (?:dispongo de"
    r"|tengo) (?:suficiente )?información|como (?:una )?(?:ia|inteligencia artificial|modelo de lenguaje)\b[ ,]"
    r"|(?:el vídeo|el video|el texto|la charla|la transcripción) no (?:menciona|dice|habla|especifica))"
    r"|\bnão (?:posso (?:responder|ajudar)|consigo responder|sou capaz de|tenho informaç)|\bcomo (?:uma )?(?:ia"
    r"|inteligência artificial|modelo de linguagem)\b,"
    r"|\b(?:o vídeo|o texto|a palestra|a transcrição) não (?:menciona|diz|fala|especifica)"
    r"|\b(?:non posso (?:rispondere|aiutar)|non sono in grado di|non (?:ho|dispongo di) (?:abbastanza "
    r"|sufficienti )?informazioni|(?:il video|il testo|la trascrizione)"
    r" non (?:menziona|dice|specifica)|in quanto (?:ia|intelligenza artificiale|modello linguistico))"
    # Dutch, Polish, Turkish
    r"|\bik kan (?:deze|die|uw|je) vraag (?:helaas )?niet|\bals (?:ai|taalmodel)\b|\bik heb (?:niet genoeg"
    r"|geen) informatie"
    r"|\bnie (?:mogę|potrafię) (?:odpowiedzieć|pomóc)|\bjako (?:ai|model językowy|sztuczna inteligencja)\b"
    r"|\bnie mam (?:wystarczających )?informacji"
    r"|\b(?:bu soruy[au] (?:cevap|yanıt) ver[ei]me|(?:cevap|yanıt) verem|yardımcı olam(?:am|ıyor)"
    r"|yeterli bilgi(?:ye sahip değilim|m yok)|bir yapay zek[aâ] olarak|bir dil modeli olarak)",
    ["als k", "als sprachmodell", "nicht", "kann ich", "keine", "tut mir leid", "dazu kann", "vortrag ",
    "transkript ", "text ", "je ne ", "je n'ai", "je n’ai",
     "en tant qu", "ne mentionne", "ne pr", "ne dit", "ne parle", "aucune info", "no puedo", "no dispongo",
     "no tengo", "como ", "no menciona", "no dice",
     "no habla", "no especifica", "não ", "non ", "in quanto", "ik kan", "als ai", "als taalmodel", "ik heb",
     "nie ", "jako ", "soru", "verem", "yardimci",
     "yeterli bilgi", "yapay zek", "dil modeli"],
)  # fmt: skip
"""Of an answer in Latin script that is not English."""

REFUSAL_NOT_LATIN = Guarded(
    r"(?:我|本人|本助手)\w{0,3}?(?:无法|不能|没法|無法)(?:回答|提供|为您|帮助|确定|给出)|(?:无法|不能|無法)回答(?:这个|这一|该|您|此|這個)|作为(?:一个"
    r"|一名)?(?:ai|人工智能|语言模型|大型语言模型)(?:助手|模型|语言模型)?[，,我]|(?:没有|缺乏)足够的信息"
    r"|(?:视频|文本|文中|演讲|原文)(?:里|中)?(?:没有|并未|未)(?:提到|提及|说明|涉及)"
    r"|(?:お答え|お手伝い)(?:することは?|する事は?)?(?:でき(?:ません|かねます)|いたしかねます)|質問に(?:は)?(?:回答|答え)[^。]{0,8}(?:ません|かねます)"
    r"|十分な情報が(?:あり|ない|不足|得られ)|(?:ai|言語モデル|人工知能)として"
    r"|(?:動画|本文|講演|テキスト)で?(?:に|は|では|には)(?:触れ|述べ|言及|記載)[^。]{0,8}(?:いません|ありません)"
    r"|(?:답변(?:할 수|드릴 수|을 드릴 수)|도와드릴 수) 없|정보가 (?:부족|충분하지|없습니다)|(?:ai|인공지능|언어 모델)로서"
    r"|(?:не могу|не в состоянии|не смогу) (?:ответить|помочь|дать|предоставить)|как (?:ии"
    r"|искусственный интеллект|языковая модель)\b|у меня (?:нет|недостаточно) (?:достаточной "
    r"|достаточно )?информации|недостаточно информации, чтобы"
    r"|(?:в (?:видео|тексте|лекции)) (?:об этом )?(?:не (?:говорится|упоминается|сказано))"
    r"|(?:لا (?:يمكنني|أستطيع)|لست قادر[\w\u064b-\u0652]*|لن أتمكن)(?: من| على)? (?:ال)?(?:إجابة|أن أجيب"
    r"|مساعدت\w*|تقديم|الإجابة|المساعدة)|(?:لا أملك|ليس لدي|لا تتوفر لدي) (?:ما يكفي من |معلومات|أي معلومات)"
    r"|بصفتي (?:نموذج|ذكاء|مساعد)"
    r"|मैं [^।]{0,60}(?:(?:जवाब|उत्तर|मदद|सहायता)[^।]{0,10}नहीं[^।]{0,8}सक|असमर्थ)|पर्याप्त जानकारी नहीं|(?:एआई"
    r"|ai|भाषा मॉडल) (?:के रूप में|होने के नाते)",
    ["无法", "不能", "没法", "無法", "作为", "信息", "没有", "并未", "未", "できません", "かねます", "できない", "情報が", "として", "いません", "ありません",
    "없", "정보가", "로서",
     "не могу", "не в сост", "не смогу", "как ии", "искусственный", "языковая", "информации", "не говорится",
     "не упоминается", "не сказано",
     "يمكنني", "أستطيع", "لست قادر", "أتمكن", "أملك", "ليس لدي", "لا تتوفر", "بصفتي", "मैं", "जानकारी", "के रूप",
     "होने के"],
)  # fmt: skip

ORDER = re.compile(
    r"\bantworten? (?:sie )?in (?:\w+ )?(?:absätzen|sätzen|stichpunkten)|\berwähnen? (?:sie )?(?:nicht )?(?:den vortrag|das video|das transkript|den sprecher)"
    r"|\b(?:réponds|répondez|répondre) en (?:\w+ )?(?:paragraphes|phrases)|\b(?:sans mentionner|ne mentionne[zr]? pas) (?:la vidéo|la conférence|l['’]orateur|la transcription)"
    r"|\brespond[ea] en (?:\w+ )?(?:párrafos|frases)|\b(?:sin mencionar|no mencion(?:es|e)) (?:el v[ií]deo|la charla|la transcripción|al ponente)"
    r"|\brispondi in (?:\w+ )?(?:paragrafi|frasi)|\b(?:senza menzionare|non menzionare) (?:il video|la trascrizione|il relatore)"
    r"|\brespond[ae] em (?:\w+ )?(?:parágrafos|frases)|\b(?:sem mencionar|não mencione) (?:o vídeo|a palestra|a transcrição|o palestrante)"
    r"|\bответь(?:те)? (?:в )?(?:двух|двумя|трёх|тремя|одним) (?:абзац|предложени)|\bне упоминай(?:те)? (?:видео|лекци|транскрип|лектор)"
    r"|用\w{0,4}(?:段|句)话?(?:来)?(?:回答|作答)|(?:不要|请勿|不得|别)提(?:到|及)(?:视频|影片|演讲|讲座|讲者|演讲者|原文|文本)"
    r"|(?:段落|文)で(?:答え|回答し)|(?:動画|講演|話者|文字起こし)に(?:は)?(?:触れない|言及しない|触れず)|문단으로 (?:답|작성)"
    r"|أجب (?:في|ب)\s?(?:فقرتين|فقرات|جملتين)|لا تذكر (?:الفيديو|المتحدث|المحاضرة)|(?:अनुच्छेदों|अनुच्छेद|पैराग्राफ) में (?:उत्तर|जवाब)|(?:वीडियो|वक्ता) का (?:ज़िक्र|जिक्र|उल्लेख) (?:न|मत)"
    r"|\bparagraf\w* (?:halinde |hâlinde )?(?:yanıtla|cevapla|cevap ver)|\b(?:videodan|konuşmacıdan|konuşmadan) (?:bahsetme|söz etme)|"
    r"\bdu bist (?:ein|eine)(?: \w+)? (?:assistent|sprachmodell|ki)|\bsie sind ein(?: \w+)? (?:assistent"
    r"|sprachmodell)|\bbeantworte(?:n sie)? (?:die|diese) (?:folgende |nachstehende )?frage|\b(?:schreibe?"
    r"|formulier\w*) (?:die|deine) antwort"
    r"|\b(?:tu es|vous êtes) une? (?:\w+ )?(?:assistante?|modèle de langage)|\b(?:réponds|répondez"
    r"|répondre) à la question (?:suivante|ci-dessous)|\brédige[zr]? (?:la|ta|votre) réponse"
    r"|\b(?:eres|usted es) un(?:a)? (?:asistente|modelo de lenguaje)|\b(?:responde|responda|contesta"
    r"|conteste) (?:a )?la (?:siguiente )?pregunta(?: siguiente)?\b(?= en|\W)|\b(?:escribe|escriba"
    r"|redacta) (?:la|tu|su) respuesta"
    r"|\bsei un(?:a|['’])? ?(?:\w+ )?(?:assistente|modello linguistico)|\brispondi (?:alla"
    r"|a questa) (?:seguente )?domanda|\bscrivi la (?:tua )?risposta"
    r"|\b(?:você|tu) é(?:s)? um(?:a)? (?:assistente|modelo de linguagem)|\brespond[ae] (?:à"
    r"|a esta) (?:seguinte )?pergunta|\b(?:escreva|escreve) a (?:sua )?resposta"
    r"|\bты (?:\w+ )?(?:помощник|ассистент|языковая модель)|\bвы (?:\w+ )?(?:помощник|ассистент)\b"
    r"|\bответь(?:те)? на (?:следующий )?вопрос\b|\bнапиши(?:те)? ответ"
    r"|\b(?:sen )?(?:\w+ )?(?:bir )?asistansın|\byapay zek[aâ] asistanı\b|\b(?:aşağıdaki"
    r"|şu) soru\w* [^.!?\n]{0,40}(?:yanıtla|cevapla)|\bcevabı(?:nı|nızı)? [^.!?\n]{0,20}yaz(?:ın)?\b"
    r"|你是(?:一个|一名|一位)?(?:有用|乐于助人|专业|友好|智能)?的?(?:ai|人工智能)?(?:助手|助理|语言模型)|(?:请)?(?:用|以|使用)?[^。，\n]{0,12}(?:回答"
    r"|解答)(?:以下|下列|下面|上述)(?:的)?问题"
    r"|あなたは(?:[^。\n]{0,12})(?:アシスタント|言語モデル|ai)です|(?:次|以下|下記)の質問に[^。\n]{0,20}(?:答え|回答し)(?:て|なさい)"
    r"|당신은 [^.\n]{0,16}(?:어시스턴트|비서|언어 모델)입니다|다음 질문에 [^.\n]{0,20}(?:답하|답변하)"
    r"|أنت (?:مساعد|نموذج)|أجب (?:عن|على) السؤال (?:التالي|الآتي)|(?:اكتب|صغ) (?:الإجابة|إجابتك)|(?:आप"
    r"|तुम) एक (?:[^।\n]{0,12})?(?:सहायक|भाषा मॉडल) (?:हैं|हो)|(?:निम्नलिखित|नीचे दिए|इस) [^।\n]{0,12}(?:प्रश्न"
    r"|सवाल) का (?:उत्तर|जवाब) [^।\n]{0,30}(?:दें|दो|दीजिए|लिखें)"
    r"|\bje bent een (?:\w+ )?assistent|\bbeantwoord de (?:volgende )?vraag|\bjesteś (?:\w+ )?asystentem"
    r"|\bodpowiedz na (?:następujące )?pytanie",
    re.IGNORECASE,
)
