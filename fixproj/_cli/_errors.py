"""Errors are one line on stderr and a return code; `--debug` shows the traceback."""

import functools as ft
import traceback
from collections.abc import Callable
from typing import Any

import click


# The return codes. click itself gives 2 where the command line is wrong.
FAILED, UNSOLVED, INTERRUPTED = 1, 3, 130


class Unsolved(click.ClickException):
    """The input was fine and the computation ran, but it did not get there."""

    exit_code = UNSOLVED


def reports_errors(command: Callable[..., Any]) -> Callable[..., Any]:
    """Adds `--debug`, and turns what a command raises into a message and a code."""

    @click.option("--debug", is_flag=True, help="Show the traceback of an error.")
    @ft.wraps(command)
    def run(*args, debug, **kwargs):
        try:
            return command(*args, **kwargs)
        except (click.ClickException, click.exceptions.Exit) as error:
            if debug and isinstance(error, click.ClickException):
                traceback.print_exc()
            raise
        except (KeyboardInterrupt, click.Abort) as error:
            if debug:
                traceback.print_exc()
            click.echo("Interrupted. With --out, --resume goes on from here.", err=True)
            raise click.exceptions.Exit(INTERRUPTED) from error
        except Exception as error:
            if debug:
                traceback.print_exc()
            raise _shown(error) from error

    return run


def _shown(error: Exception) -> click.ClickException:
    text = str(error).strip() or "no message"
    if isinstance(error, FloatingPointError):
        return Unsolved(text)
    # Messages of this library say all that is needed; others need their kind.
    if not isinstance(error, ValueError | TypeError | ImportError | OSError):
        text = f"{type(error).__name__}: {text} (--debug shows the traceback)"
    return click.ClickException(text)
