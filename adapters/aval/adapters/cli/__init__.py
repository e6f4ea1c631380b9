"""The command line `aval`: for the engineers of a house, for scripts, and for whoever tries the product.

Whatever it does, a program can do over gRPC: it is a client of the contract like any other. Start at `root` (what there
is), `command` (what all commands share), then the module of the command.
"""

import os
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from aval.adapters.cli.exits import Failure

SECRET_OPTIONS = ("--token", "--password", "--secret", "--key", "--private-key", "--passphrase")
"""Options that would put a secret where everyone on the machine can read it."""


def main(arguments: Sequence[str] | None = None) -> None:
    """Runs `aval` and leaves the process with one of its exit codes."""
    sys.exit(run(sys.argv[1:] if arguments is None else arguments))


def run(arguments: Sequence[str]) -> int:
    """Runs `aval` with these arguments; the exit code. Errors are three lines on the standard error."""
    import click

    from aval.adapters.cli.exits import Exit, Failure
    from aval.adapters.cli.root import root
    from aval.adapters.cli.words import say
    from aval.kernel.reasons import Refusal

    try:
        _refuse_secrets(arguments)
        outcome = root.main(args=list(arguments), prog_name="aval", standalone_mode=False)
    except click.exceptions.Exit as ended:
        return ended.exit_code
    except click.exceptions.NoArgsIsHelpError as asked:
        click.echo(asked.ctx.get_help(), err=True)
        return Exit.USAGE
    except click.UsageError as error:
        from aval.adapters.cli.usage import usage_failure

        return _tell(usage_failure(error))
    except click.ClickException as error:
        return _tell(Failure(error.format_message()))
    except (click.Abort, KeyboardInterrupt):
        click.echo(say("interrupted"), err=True)
        return Exit.INTERRUPTED
    except Failure as failure:
        return _tell(failure)
    except Refusal as refusal:
        from aval.adapters.cli.session import refusal_failure

        return _tell(refusal_failure(refusal))
    except BrokenPipeError:
        # Whoever reads our output has read enough (`aval units list | head`).
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return Exit.DONE
    except OSError as error:
        return _tell(Failure(str(error)))
    # What `Context.exit` was given comes back as the outcome; a command that ends by itself returns nothing.
    return outcome if isinstance(outcome, int) else Exit.DONE


def _tell(failure: "Failure") -> int:
    import click

    from aval.adapters.cli.words import say

    click.echo(say("error", what=failure.what), err=True)
    if failure.why or failure.reason:
        why = failure.why or say("unexpected")
        click.echo(say("why.reason", why=why, reason=failure.reason) if failure.reason else why, err=True)
    if failure.following:
        click.echo(say("try", command=failure.following), err=True)
    return failure.code


def _refuse_secrets(arguments: Sequence[str]) -> None:
    from aval.adapters.cli.exits import Exit, Failure
    from aval.adapters.cli.words import say

    for word in arguments:
        option = word.partition("=")[0]
        if option in SECRET_OPTIONS or "PRIVATE KEY" in word:
            raise Failure(
                say("secret.argv"),
                say("secret.argv.why", word=option if option in SECRET_OPTIONS else "-----BEGIN…"),
                "aval pki issue --help",
                reason="SECRET_IN_ARGUMENT",
                code=Exit.USAGE,
            )
