"""Strings from outside, made fit to print."""


def clean(text: object) -> str:
    r"""``text`` on one line, with what cannot be printed (ESC, bidi marks) as ``\x1b``.

    Angle brackets stay: escaping is the template's and matplotlib's job.
    """
    return "".join(c if c.isprintable() else _visible(c) for c in str(text))


def sentence(text: str) -> str:
    """`clean` text as a sentence: a capital at the start, a full stop at the end."""
    line = clean(text).strip()
    return line[:1].upper() + line[1:] + ("" if line.endswith((".", "!", "?")) else ".")


def _visible(character: str) -> str:
    if character.isspace():
        return " "
    code = ord(character)
    return f"\\x{code:02x}" if code < 256 else f"\\u{code:04x}"
