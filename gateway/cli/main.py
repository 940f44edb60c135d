"""Entry point.  The gateway itself starts without the terminal's commands: a tenth of a second and 5 MB less."""

from __future__ import annotations

import sys

from gateway.cli import running
from gateway.errors import ConfigError, LinegateError, Refused


def main() -> None:
    """Errors of ours are sentences, bugs are tracebacks."""
    try:
        config = running.asked(sys.argv[1:])
        if config is not None:
            running.run(config, log_json=running.LOG_JSON in sys.argv)
        else:
            from gateway.cli.terminal import app

            app()
    except ConfigError as error:
        print(error, file=sys.stderr)
        print(f"{len(error.problems)} error(s); nothing was started.", file=sys.stderr)
        sys.exit(2)
    except Refused as refusal:
        print(f"refused ({refusal.code}): {refusal}", file=sys.stderr)
        sys.exit(3)
    except LinegateError as error:
        print(f"linegate: {error}", file=sys.stderr)
        sys.exit(4)


if __name__ == "__main__":
    main()
