"""The links that lead out of the repository.

    python -m tests.outside_links

asks every one of them, and prints those that do not answer; `make links` does the same.
It needs the network, so the tests only check the form of each (`tests/test_docs.py`);
links inside of the site are checked by the build of the documentation.
"""

import pathlib
import re
import subprocess
import sys
import urllib.error
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from urllib.parse import urlsplit


ROOT = pathlib.Path(__file__).parents[1]
KINDS = (".md", ".py", ".toml", ".yml", ".cff")
# Where links may lead. A slip in a host's name is not among them.
HOSTS = {
    "archive.ics.uci.edu",
    "arxiv.org",
    "docs.jax.dev",
    "docs.kidger.site",
    "github.com",
    "optax.readthedocs.io",
    "www.cs.toronto.edu",
}
# What a page of a host looks like.
FORMS = {
    "arxiv.org": r"/abs/(\d{4}\.\d{4,5}|[a-z-]+/\d{7})",
    "github.com": r"/[\w.-]+/[\w.-]+(/(issues|pull)/\d+|/(blob|tree)/[\w./-]+)?",
}
_LINK = re.compile(r"https?:[^\s)>\]\"'`|,;\\]+")
_SECONDS = 20


def outside_links() -> dict[str, list[str]]:
    """Every link, with the files and lines that it stands in."""
    files = subprocess.run(
        ["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout.split("\0")
    found: dict[str, list[str]] = {}
    for name in files:
        if not name.endswith(KINDS) or name.startswith("tests/"):
            continue
        lines = (ROOT / name).read_text().splitlines()
        for number, line in enumerate(lines, 1):
            for link in _LINK.findall(line):
                found.setdefault(link.rstrip(".:"), []).append(f"{name}:{number}")
    return found


def wrong_form(link: str) -> str | None:
    """What is wrong with a link that can be seen without a network, or None."""
    parts = urlsplit(link)
    if parts.scheme != "https":
        return "not https"
    if parts.netloc not in HOSTS:
        return f"the host {parts.netloc!r} is none of {', '.join(sorted(HOSTS))}"
    form = FORMS.get(parts.netloc)
    if form and not re.fullmatch(form, parts.path):
        return f"a path of {parts.netloc} looks like {form}"
    return None


def no_answer(link: str) -> str | None:
    """Why a link does not lead anywhere, or None."""
    request = urllib.request.Request(link, headers={"User-Agent": "link check"})
    try:
        with urllib.request.urlopen(request, timeout=_SECONDS) as answer:
            return None if answer.status < 400 else f"status {answer.status}"
    except (urllib.error.URLError, TimeoutError, ValueError) as error:
        return str(error)


def main() -> int:
    """Print the links that are wrong; the return code is 1 if there are any."""
    links = outside_links()
    reasons = {link: wrong_form(link) for link in links}
    sound = [link for link, reason in reasons.items() if reason is None]
    with ThreadPoolExecutor(8) as pool:
        reasons |= dict(zip(sound, pool.map(no_answer, sound), strict=True))
    bad = {link: reason for link, reason in reasons.items() if reason is not None}
    for link, reason in bad.items():
        print(f"{link}: {reason}\n  in {', '.join(links[link])}")
    print(f"{len(links)} links, {len(bad)} of them wrong.")
    return bool(bad)


if __name__ == "__main__":
    sys.exit(main())
