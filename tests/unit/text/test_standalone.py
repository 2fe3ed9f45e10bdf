"""Laws of questions that stand alone: in every language, without the talk they came from."""

import pytest

from understudy.text.standalone import standalone_problem

STANDING = """
What is a video codec?
How do you wire a speaker to an amplifier?
Why does the speaker crackle when the cable is loose?
How does RNA polymerase build the transcript?
How do you caption this kind of video for deaf viewers?
What makes a good lecture?
How long should a talk at a conference be?
How does the session layer keep a connection open?
What makes the author's estate pay tax?
Why is it important to sleep eight hours?
What does it mean to be brave?
How do I talk to my doctor?
How are subtitles stored in the video stream?
What is the text of a contract made of?
How do you sit in the lecture hall without back pain?
What does a transcript of records show?
How did the presenter of the first radio show earn money?
Explain how insulin works.
Why do they say that salt raises blood pressure?
How do these two vitamins differ?
Was ist ein Videoformat?
Wie funktioniert ein Lautsprecher?
Warum ist das Herz links?
Wie hält man einen guten Vortrag?
Was macht der Sprecher der Regierung?
Wie wird im Videoschnitt der Ton angepasst?
酵母はなぜ糖を食べるのですか。
¿Cómo se graba un vídeo?
""".strip().splitlines()

LEANING = """
What is explained in this video?
What does the speaker say about sleep?
What does the speaker mean by rest?
According to the transcript, how much sleep is enough?
According to the speaker, what is rest?
What is the main point of the lecture?
Which three foods are mentioned in the video?
What was the example used in the talk?
What is the speaker's opinion on salt?
Why does the author recommend walking?
What is this lecture about?
As mentioned earlier, why is salt bad?
What does paragraph 3 say about salt?
What did you say in your talk about salt?
Was wird in diesem Video erklärt?
Was sagt der Sprecher über Schlaf?
Was meint die Rednerin mit Ruhe?
Laut dem Vortrag: Wie viel Schlaf ist genug?
Welche Lebensmittel werden im Video genannt?
Wie lautet die wichtigste Aussage im Vortrag?
¿Qué se explica en este vídeo?
Que dit-on dans cette vidéo ?
""".strip().splitlines()


@pytest.mark.parametrize("question", STANDING)
def test_a_question_about_its_subject_stands_alone(question: str) -> None:
    assert standalone_problem(question) is None


@pytest.mark.parametrize("question", LEANING)
def test_a_question_that_names_the_talk_does_not_stand_alone(question: str) -> None:
    assert standalone_problem(question) == "mentions the talk"


@pytest.mark.parametrize(
    "question", ["", "?", "Sleep.", "Sleep is good for you.", "Schlaf tut gut.", "1. 2. 3.", "Why?"]
)
def test_what_asks_nothing_is_no_question(question: str) -> None:
    assert standalone_problem(question) == "no question"


@pytest.mark.parametrize(
    "question",
    ["Why is this important?", "How does that work?", "What did he do?", "Why do they matter?", "Warum ist das so?"],
)
def test_a_pronoun_without_its_word_does_not_stand_alone(question: str) -> None:
    assert standalone_problem(question) == "no referent"


@pytest.mark.parametrize(
    "question",
    [
        "Que conseille la conférencière contre les mites ?",
        "De quoi parle-t-on dans cet épisode ?",
        "Según la ponente, ¿por qué se encoge la lana?",
        "Cosa consiglia il relatore contro le tarme?",
        "O que é explicado neste vídeo sobre lã?",
        "Что советует лектор против моли?",
        "О чём говорится в этом видео?",
        "讲师为什么建议用冷水？",
        "这个视频讲了什么？",
        "講師によると、羊毛はなぜ縮むのですか？",
        "この動画で紹介された方法は何ですか？",
        "이 강연에서 말하는 원인은 무엇인가요?",
        "بماذا ينصح المحاضر ضد العث؟",
        "ماذا يشرح هذا الفيديو في هذه الحلقة؟",
        "वक्ता ऊन के बारे में क्या बताते हैं?",
        "Konuşmacıya göre yün neden çeker?",
        "Wat zegt de spreker over wol?",
        "Co radzi prelegent w tym wykładzie?",
    ],
)
def test_a_question_that_names_the_talk_in_another_language_does_not_stand_alone(question: str) -> None:
    assert standalone_problem(question) == "mentions the talk"


@pytest.mark.parametrize(
    "question",
    [
        "Comment monter une vidéo de mariage ?",
        "Comment un orateur vainc-il le trac ?",
        "¿Cómo se prepara una conferencia?",
        "¿En qué clase de masa se usa aceite?",
        "Come si registra un podcast?",
        "Como se edita um vídeo longo?",
        "Как написать лекцию для школы?",
        "怎么剪辑视频？",
        "演讲者怎么克服紧张？",
        "動画の音量はどう決めますか？",
        "발표 자료는 어떻게 만드나요?",
        "كيف أكتب محاضرة قصيرة؟",
        "वीडियो कैसे काटें?",
        "Video nasıl kesilir?",
    ],
)
def test_a_question_whose_subject_is_a_talk_stands_alone_in_every_language(question: str) -> None:
    assert standalone_problem(question) is None
