"""Cookies of a person's own account, in the form in which browsers' extensions and yt-dlp export them."""

from http.cookiejar import LoadError, MozillaCookieJar
from pathlib import Path

HOW = "export it with a browser's cookies.txt extension, or with yt-dlp --cookies-from-browser ... --cookies FILE"


def problem(file: Path) -> str | None:
    """Why the file cannot be used, without a word of what is in it; None when it can."""
    try:
        jar = load(file)
    except LoadError:
        return f"{str(file)!r} is no cookies.txt in Netscape's format; {HOW}"
    except (OSError, UnicodeDecodeError) as error:
        return f"{str(file)!r} cannot be read ({getattr(error, 'strerror', None) or 'it is no text'}); {HOW}"
    if not any(cookie.domain.lstrip(".").endswith("youtube.com") for cookie in jar):
        return f"{str(file)!r} has no cookie of youtube.com that is still valid; {HOW}"
    return None


def load(file: Path) -> MozillaCookieJar:
    """The cookies of the file. Raises OSError, LoadError."""
    jar = MozillaCookieJar(file)
    jar.load(ignore_discard=True)
    return jar
