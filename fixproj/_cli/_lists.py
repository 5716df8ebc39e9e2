"""Options that take every value up to the next option: `--seeds 0 1 2`.

Click's own options take a fixed number of values. What follows one of these options is
joined to one value, by spaces.
"""

import click


class ListCommand(click.Command):
    """A command whose options of type `Words` take any number of values."""

    def parse_args(self, ctx, args):
        """Joins the values before click reads the line."""
        names = {
            name
            for param in self.params
            if isinstance(param, click.Option) and isinstance(param.type, Words)
            for name in param.opts
        }
        found: list[str] = []
        rest = list(args)
        while rest:
            word = rest.pop(0)
            found.append(word)
            if word in names:
                values = []
                while rest and not _is_option(rest[0]):
                    values.append(rest.pop(0))
                if values:
                    found.append(" ".join(values))
        return super().parse_args(ctx, found)


def _is_option(word: str) -> bool:
    return word.startswith("-") and not word[1:].replace(".", "", 1).isdigit()


class Words(click.ParamType):
    """Words between spaces."""

    name = "words"

    def convert(self, value, param, ctx):
        """A tuple of strings."""
        return tuple(value.split()) if isinstance(value, str) else value


class Seeds(Words):
    """Non-negative integers: `0 1 2`, `0,1,2` or `0-4`."""

    name = "seeds"

    def convert(self, value, param, ctx):
        """A tuple of integers without repetitions, in the order given."""
        if not isinstance(value, str):
            return value
        found: dict[int, None] = {}
        for word in value.replace(",", " ").split():
            first, _, last = word.partition("-")
            if not (first.isdigit() and (last or first).isdigit()):
                self.fail(f"{word!r} is no seed; try 0 1 2 or 0-4", param, ctx)
            if int(last or first) >= 2**31 or int(last or first) - int(first) > 10_000:
                self.fail(f"{word!r} is too large", param, ctx)
            found |= dict.fromkeys(range(int(first), int(last or first) + 1))
        if not found:
            self.fail("names no seed", param, ctx)
        return tuple(found)
