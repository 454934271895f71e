"""The command `edge-api`."""

import argparse
import gc
import signal
import sys


def serve(factory: str | None = None) -> int:
    """Serve the API, or what another factory makes, in the foreground until SIGINT or SIGTERM."""
    # What is imported stays: looking through it for garbage, again and again, would be a sixth of the time to start.
    gc.disable()
    from edge_api import server  # noqa: PLC0415
    from edge_api.settings import InvalidSettingsError, Settings  # noqa: PLC0415

    gc.freeze()
    gc.enable()
    # uvicorn ends what is under way, then raises the signal again for whoever was there before it
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    try:
        settings = Settings.from_environment()
    except InvalidSettingsError as error:
        print(f"edge-api: the environment is not complete\n{error}", file=sys.stderr)
        return 2
    server.serve(settings, factory or server.APPLICATION)
    return 0


def main() -> int:
    """Parse the command line and run the command; returns the exit code."""
    parser = argparse.ArgumentParser(prog="edge-api", description="The accounts API in front of a Supabase project.")
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser(
        "serve",
        help="serve the API",
        description="Serve the API in front of the Supabase project that SUPABASE_URL and SUPABASE_PUBLISHABLE_KEY "
        "name. EDGE_API_HOST (127.0.0.1) and EDGE_API_PORT (9403) say where.",
    )
    parser.parse_args()
    return serve()


if __name__ == "__main__":
    sys.exit(main())
