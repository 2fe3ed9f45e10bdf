# ruff: noqa: E501
"""How an assistant opens and closes a chat, and how a channel advertises: phrases that teach nothing, by language."""

import re

from understudy.gates.guarded import Guarded, in_english

_KIND = r"(?:clear|concise|brief|short|detailed|complete|possible|simple|quick|comprehensive|revised|rewritten|summarized|step-by-step)"
_THING = r"(?:answer|response|reply|explanation|summary|overview|breakdown|version|rundown)"
_OPENING = re.compile(
    r"\A[\s*_#>¡!-]*(?:(?:sure|certainly|absolutely|of course|definitely|gladly|okay|ok|alright|great"
    r"|understood|no problem|happy to help|i[’']d be happy to)"
    r"(?: thing)?[!,.:;—–-]*\s+(?:here(?:[’']s| is| are)|let me|let[’']s (?:break|dive|look|explore)|i(?:[’']d"
    r"| would) be|i(?:[’']ll| can| will) (?:help|explain|answer|gladly|break)"
    r"|below (?:is|are)|to answer|happy to|glad to|the answer (?:is|to))"
    rf"|(?:sure(?: thing)?|certainly)!|here(?:[’']s| is) (?:an? |the |my |your )?(?:{_KIND},? (?:and )?)*{_THING}\b"
    r"|as requested\b|i(?:[’']d| would) be (?:happy|glad) to|i[’']m (?:happy|glad) (?:to help|you asked)"
    r"|(?:that[’']s |that is |what )?(?:an? )?(?:really )?(?:great|good|excellent|fantastic|wonderful"
    r"|thoughtful|interesting) question(?:[!.,]|\s*[—–-])"
    r"|thank(?:s| you) for (?:asking\b|(?:your|the)[^.!\n]{0,20}question)"
    # German, Dutch
    r"|(?:gerne?|natürlich|selbstverständlich|klar|sicher|aber gern|sehr gerne?)[!,.:]+\s*(?:hier (?:ist|sind"
    r"|kommt|findest)|ich (?:erkläre|helfe)|lass)"
    r"|(?:natürlich|klar|ja|aber)?[, ]*(?:sehr )?gerne?!|(?:natürlich|selbstverständlich)!|hier (?:ist|kommt|finde(?:st|n) (?:du|sie)) (?:ein|eine|die"
    r"|deine|ihre|meine) (?:\w+e )?(?:antwort|erklärung|zusammenfassung|übersicht)"
    r"|(?:das ist )?(?:eine )?(?:gute|tolle|sehr gute|ausgezeichnete|spannende) frage[!.]|(?:natuurlijk|zeker"
    r"|graag)[!,.]\s*hier"
    # French
    r"|(?:bien sûr|certainement|avec plaisir|absolument|volontiers|d['’]accord)\s*[!,.:]+\s*(?:voici|voilà"
    r"|je (?:vais|vous)|permettez)|(?:bien sûr|certainement|avec plaisir)\s*!"
    r"|voici (?:une?|la|ma|votre) (?:\w+ )?(?:réponse|explication|synthèse|résumé)"
    r"|(?:c['’]est une )?(?:excellente|très bonne|bonne) question\s*[!.]"
    # Spanish, Portuguese, Italian
    r"|[¡\W]*(?:claro|por supuesto|con gusto|desde luego|claro que sí|seguro)\W+(?:aquí|te explico"
    r"|a continuación|esta es|con gusto)|[¡\W]*(?:claro|por supuesto|claro que sí|con (?:mucho )?gusto)!"
    r"|aquí (?:tienes|tiene|está|va|te dejo) (?:una|la|mi|tu|su) (?:\w+ )?(?:respuesta|explicación|resumen)"
    r"|[¡\W]*(?:excelente|buena|muy buena|gran) pregunta[!.]"
    r"|(?:claro|com certeza|com prazer|certamente|sem dúvida|ótimo|claro que sim)[!,.:]+\s*(?:aqui|segue|vou"
    r"|eis|a seguir)|(?:claro|com certeza|certamente)!"
    r"|(?:aqui está|segue|eis) (?:uma|a|abaixo|sua) (?:\w+ )?(?:resposta|explicação)|(?:ótima|excelente"
    r"|boa) pergunta[!.]"
    r"|(?:certo|certamente|certo che sì|ma certo|volentieri|naturalmente|assolutamente)[!,.:]+\s*(?:ecco"
    r"|ti spiego|di seguito|vediamo)|(?:certamente|volentieri|ma certo)!"
    r"|ecco (?:una|la|qui|la tua|la mia) (?:\w+ )?(?:risposta|spiegazione|sintesi)|(?:ottima|bella|buona) domanda[!.]"
    # Polish, Russian, Turkish
    r"|(?:oczywiście|jasne|pewnie|chętnie)[!,.]\s*(?:oto|poniżej|wyjaśni)|oto (?:odpowiedź|wyjaśnienie)\b"
    r"|(?:конечно|разумеется|безусловно|хорошо|с удовольствием|с радостью)[!,.:]+\s*(?:вот|ниже|давайте|я )"
    r"|(?:конечно|разумеется|с удовольствием)!|вот (?:ваш |мой |краткий |подробный |ясный )?(?:ответ|объяснение)\b"
    r"|(?:отличный|хороший|прекрасный) вопрос[!.]"
    r"|(?:elbette|tabii(?: ki)?|memnuniyetle|kesinlikle|tabi)[!,.:]+\s*(?:i̇?şte|işte|aşağıda|size|hemen|sana)"
    r"|(?:elbette|tabii ki|memnuniyetle)!|i̇?şte (?:sorun\w+ )?(?:cevab|yanıt)\w*|(?:harika|güzel) bir soru[!.]"
    # Chinese, Japanese, Korean
    r"|(?:当然|好的|没问题|當然|好|可以)(?:可以|了)?[！!，,。：:]+(?:以下|下面|这里|我来|我会|让我|這裡|這是|这是)|(?:当然|好的|没问题|當然)(?:可以|了)?[！!]"
    r"|(?:以下|下面)(?:是|为)[^。，\n]{0,16}(?:回答|答案|解释|答复|回复|解答)|(?:这是一个|这是个)?(?:很)?好(?:的)?问题[！。!]"
    r"|(?:もちろん(?:です)?|はい|承知(?:いた)?しました|かしこまりました|わかりました|了解(?:です|しました))[！!。、]+\s*(?:以下|こちら|それでは|では|ご説明|お答え|説明)"
    r"|(?:もちろんです|承知(?:いた)?しました|かしこまりました)[！!。]|以下(?:は|に|が)[^。、\n]{0,16}(?:回答|答え|説明)|(?:良い|いい|素晴らしい)(?:ご)?質問です"
    r"|(?:물론(?:입니다|이죠)?|네|알겠습니다)[!,.]+\s*(?:다음은|아래|여기)|(?:물론입니다|알겠습니다)[!.]|다음은 [^.\n]{0,20}(?:답변|설명)입니다|좋은 질문입니다"
    # Arabic, Hindi
    r"|(?:بالتأكيد|بالطبع|بكل سرور|حسن[\w\u064b-\u0652]*|طبع[\w\u064b-\u0652]*|أكيد)\W+(?:إليك|فيما يلي|سأ|هذه"
    r"|دعني|هذا)|(?:بالتأكيد|بالطبع|بكل سرور)!|(?:إليك|فيما يلي) (?:ال)?(?:إجابة|جواب|شرح|توضيح)|سؤال (?:رائع"
    r"|ممتاز|جيد)"
    r"|(?:ज़रूर|जरूर|बिल्कुल|अवश्य|निश्चित रूप से|हाँ)[!,।]+\s*(?:यहाँ|यहां|यह|पेश|नीचे|मैं|आइए)|(?:ज़रूर|जरूर"
    r"|बिल्कुल|अवश्य|निश्चित रूप से)!|(?:यहाँ|यहां|नीचे) (?:आपके )?[^।\n]{0,24}(?:उत्तर|जवाब) (?:है|दिया)"
    r"|(?:बहुत )?(?:अच्छा|बढ़िया) सवाल)",
    re.IGNORECASE,
)
_CLOSING = Guarded(
    r"(?<![\w\"“«‘'])(?:(?:i )?hope (?:this|that|it|these)(?: \w+){0,2} (?:helps?|clarif\w*|answers?"
    r"|was helpful|is helpful|useful)|(?:please )?let me know (?:if|whether|in the comments|how)"
    r"|feel free to (?:ask|reach|contact|let me|comment)|(?:if|should) you have (?:any )?(?:more |further "
    r"|other |additional )?questions|do you have (?:any )?(?:more|other|further) questions"
    r"|if you need (?:any )?(?:more|further|additional) (?:details|help|information|examples|clarification)"
    r"|would you like (?:more|another|further|some more)|i[’']?(?:m| am) (?:here|happy) to help"
    r"|is there anything else|(?:do not|don[’']t) hesitate to (?:ask|reach|contact)|would you like me to"
    r"|happy to (?:help|explain|elaborate|clarify)|glad to (?:help|elaborate)"
    r"|i can also (?:explain|provide|help))\b",
    ["hope th", "hope it", "let me know", "feel free", "you have ", "you need ", "would you like", "i'm here",
    "i’m here", "i am here", "to help", "anything else", "hesitate to", "like me to",
     "happy to", "glad to", "i can also"],
)  # fmt: skip
_CLOSING_ELSEWHERE = re.compile(
    r"\b(?:ich hoffe, (?:das|dass|diese)[^.!\n]{0,40}(?:hilf|hilft|weiter|beantwortet|geholfen)|(?:melde"
    r"|melden sie) (?:dich|sich)|(?:sag|sagen sie|lass|lassen sie) (?:mir )?(?:mich |gern )?(?:bescheid|wissen)"
    r"|(?:falls|wenn) (?:du|sie) (?:noch )?(?:weitere |mehr )?fragen (?:hast|haben)"
    r"|frag(?:en sie)? (?:mich )?gerne? (?:nach|weiter)|stehe? (?:ich )?(?:dir|ihnen) gerne? zur verfügung"
    r"|laat (?:het )?(?:me|mij) weten|ik hoop dat (?:dit|het)"
    r"|j['’]espère que (?:cela|ça|cette|ceci)|n['’]hésitez? (?:pas|surtout pas) à|si (?:vous avez"
    r"|tu as) (?:d['’]autres|des|la moindre) questions?|faites-(?:le-)?moi savoir|je reste à (?:votre|ta) disposition"
    r"|espero que (?:esto|te|le|esta|isso|ajude|tenha|esto te)|(?:si tienes|si tiene|se tiver"
    r"|caso tenha) (?:alguna |más |otras? |mais |alguma |outras? )?(?:otra |outra )?(?:pregunta|preguntas|duda"
    r"|dúvida|dudas|dúvidas|perguntas?)"
    r"|no dude[sn]? en (?:preguntar|consultar|contactar|escrib)|(?:házme|hazme|hágame|me avise|avísame|me diga"
    r"|fique à vontade)\b|(?:qualquer coisa|se precisar)[^.!\n]{0,20}(?:é só (?:perguntar|chamar|falar)|pergunte)|estou à disposição|não hesite em|qualquer dúvida"
    r"|spero (?:che (?:questo|questa|ti|le|sia)|di esserti)|(?:fammi|mi faccia) sapere|se hai (?:altre "
    r"|ulteriori )?(?:domande|dubbi)|non esitare a|resto a disposizione"
    r"|mam nadzieję, że (?:to|ta)|daj (?:mi )?znać|jeśli masz (?:więcej |jeszcze |inne )?pyta"
    r"|надеюсь, (?:это|что|мой|вам|ответ)|если у (?:вас|тебя) (?:есть|остались|будут|возникнут) (?:ещё |еще "
    r"|другие |дополнительные |какие-либо )*вопрос|дайте (?:мне )?знать|обращайтесь|не стесняйтесь|буду рад[а]? помочь"
    r"|umarım (?:bu|yardımcı|faydalı|işine|işinize)|(?:başka|ek) (?:bir )?soru(?:nuz|n|ların|larınız)"
    r"|daha fazla (?:bilgi|detay|ayrıntı) (?:ister|için|gerek|almak)\w*|sorman(?:ız)? yeterli|çekinme(?:yin|den)|bana (?:bildir|haber ver))\b"
    r"|希望(?:这|這|以上|我的|能|对您|对你)[^。！\n]{0,16}(?:帮助|有用|帮到|幫助|有所帮助)|(?:如果|若|如)(?:您|你)?(?:还)?有(?:任何|其他|更多|别的"
    r"|什么)?(?:其他|其它)?(?:的)?(?:问题|疑问|疑問|問題)|请?随时(?:告诉|问|提问|联系|向我)|欢迎(?:随时)?(?:提问|继续|咨询)"
    r"|お役に立て|参考になれば|ご(?:質問|不明(?:な)?点)[^。\n]{0,12}(?:あれ|ござい|あり)|お気軽に(?:お|ご)|お知らせください|ほかに(?:ご)?質問"
    r"|도움이 (?:되었|되셨|되길|되기)|(?:궁금한|질문이|문의)[^.\n]{0,14}(?:있으시면|있으면)|언제든지"
    r"|(?:آمل|أتمنى|أرجو) أن (?:يكون|تكون|يساعد|أكون)|(?:إذا|إن) (?:كان|كانت) لديك (?:أي |المزيد من )?(?:أسئلة"
    r"|سؤال|استفسار)|لا تتردد|أخبرني إذا"
    r"|(?:आशा|उम्मीद) (?:है|करता हूँ|करती हूँ) (?:कि )?(?:यह|इससे|इस|ये|मेरा|आपको)|(?:अगर|यदि) (?:आपके|आपका"
    r"|आपको)[^।\n]{0,20}(?:सवाल|प्रश्न)|बेझिझक|(?:और|अधिक|ज़्यादा) जानकारी (?:चाहिए|के लिए)|मुझे बताएँ",
    re.IGNORECASE,
)
_CLOSING_CHARACTERS = 260
_ADVERTISING = Guarded(
    r"(?<!\w)(?:(?:this|today[’']s|our) (?:video|episode|talk|show|podcast|stream|lecture)(?: is"
    r"| was)? (?:kindly |proudly )?sponsored by|(?:is|are|was) (?:kindly |proudly )?sponsored by (?:our|my|today)"
    r"|(?:brought to you|made possible) by (?:our|my|today)|(?:promo|discount|coupon|gutschein"
    r"|rabatt)[ -]?codes?|use (?:my |the |our )?code (?-i:[A-Z][A-Z0-9]{2,})|use (?:my|our) (?:promo "
    r"|discount )?(?:code|link)"
    r"|(?:don[’']t|do not) forget to (?:like|subscribe|share|hit|follow)|leave (?:a|your) (?:comment"
    r"|like) (?:below|down)|(?:comments?|description) (?:below|section below)"
    r"|follow me on|check out (?:my|our) (?:channel|course|website|patreon|merch|sponsor)|(?:like"
    r"|share),? (?:comment )?and subscribe)(?!\w)",
    ["sponsored by", "brought to you", "made possible", "code", "use my", "use our", "forget to", "leave a",
    "leave your", "comment", "description below", "description section",
     "follow me on", "check out", "and subscribe"],
)  # fmt: skip
_ADVERTISING_ELSEWHERE = re.compile(
    r"\b(?:abonn(?:ier|iert|ez|e-toi)[^.!\n]{0,24}(?:kanal|chaîne|channel)|kanal (?:zu )?abonnieren"
    r"|glocke (?:zu )?aktivieren|daumen (?:nach oben|hoch)[^.!\n]{0,30}(?:video|da|lass)|(?:lasst|lass) (?:uns "
    r"|mir )?(?:ein(?:en)? )?(?:like|abo|kommentar) da"
    r"|abonnez-vous|(?:un )?pouce bleu|activez la cloche|(?:le )?lien (?:est )?(?:dans|en) (?:la )?description"
    r"|code (?:promo|de réduction)"
    r"|suscr[ií](?:birte|bete|banse|bíos|birse)[^.!\n]{0,24}canal|(?:activa|darle a|dale a"
    r"|toca) (?:a )?la campanita|(?:el )?enlace (?:está )?(?:en|abajo) (?:en )?la descripción"
    r"|código (?:de descuento|promocional)|dale (?:a )?(?:like|me gusta)"
    r"|inscrev(?:a-se|er)[^.!\n]{0,24}canal|(?:ative|clique n)o sininho|deix(?:e|a) (?:o|seu|um) like"
    r"|link (?:está )?na descrição|(?:código|cupom) de desconto"
    r"|iscri(?:viti|vetevi|versi)[^.!\n]{0,24}canale|attiva la campanella|link (?:è |trovi )?in descrizione"
    r"|lascia(?:te)? un (?:like|mi piace)|codice sconto"
    r"|zasubskrybuj|subskrybuj|łapk[aęi] w górę|link w opisie|подпис(?:ывайтесь|аться|ывайся) на (?:мой |наш "
    r"|этот )?канал|подпишитесь|ставьте лайк|(?:ссылка|ссылки) в описании|нажмите на колокольчик|промокод"
    r"|kanal(?:a|ıma|ımıza) abone ol|abone ol(?:mayı|un)|bildirim(?:leri)? aç|link açıklama|beğen(?:meyi|ip) "
    r"|indirim kodu)"
    r"|(?:订阅|关注|訂閱|關注)(?:我的|我们的|本|这个)?(?:频道|頻道|公众号|账号)|点赞(?:和|、|并)?(?:订阅|关注|收藏|转发)|一键三连|(?:链接|鏈接|連結)(?:在"
    r"|放在)(?:下方|简介|描述|下面)|优惠码|折扣码|本期(?:视频|节目)由"
    r"|チャンネル登録|高評価(?:と|を|、)|概要欄|クーポンコード|구독(?:과|하고|을| 버튼)|좋아요(?:와|를| 버튼)|설명란"
    r"|(?:اشترك|اشتركوا|الاشتراك|تشترك\w*) (?:في|ب)(?:ال| ال)?(?:قناة|قناتي|قناتنا)|(?:زر|جرس) (?:الإعجاب"
    r"|التنبيهات|الجرس|الاشتراك)|الرابط في (?:الوصف|صندوق)|(?:كود|رمز) (?:ال)?خصم"
    r"|(?:चैनल|चेनल) को (?:सब्सक्राइब|लाइक)|सब्सक्राइब कर|(?:लिंक|लिंक्स) (?:डिस्क्रिप्शन|नीचे)|घंटी (?:का|के"
    r"|वाला|दबा)|लाइक और ",
    re.IGNORECASE,
)


def chat_phrase(text: str, low: str, question: str) -> str | None:
    """An assistant's opening or closing, or an advertisement, in `text`; None where the question is about it.

    `low` is the text as `folded` gives it.
    """
    if opening := _OPENING.match(text):
        return opening.group()
    english = in_english(low)
    start = max(0, len(text) - _CLOSING_CHARACTERS)
    end = text[start:]
    match = (
        _CLOSING.search(end, low[start:] if len(low) == len(text) else None)
        or _ADVERTISING.search(text, low)
        or (None if english else _CLOSING_ELSEWHERE.search(end) or _ADVERTISING_ELSEWHERE.search(text))
    )
    return match.group() if match and not _asked_about(match.group(), question) else None


def _asked_about(phrase: str, question: str) -> bool:
    """Whether the question has most of the phrase's long words, e.g. 'sponsored' or 'subscribe'."""
    long = [word for word in re.findall(r"\w{5,}", phrase.lower()) if word not in _COMMON]
    return bool(long) and any(word[:7] in question.lower() for word in long)


_COMMON = frozenset("today video episode talk should would please questions question other further".split())
