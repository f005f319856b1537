"""The verb that opens the page."""

import click


@click.command()
@click.option("--host", default="127.0.0.1", show_default=True, help="Others need a token then.")
@click.option("--port", type=click.IntRange(0, 65535), default=8008, show_default=True)
@click.option("--no-browser", is_flag=True, help="Only says where the page is.")
def web(host: str, port: int, no_browser: bool) -> int:
    """Opens a page to enhance, compare and score pictures."""
    import signal

    from bench.web.serving import serve

    signal.signal(signal.SIGTERM, signal.default_int_handler)  # ends it as Ctrl-C does
    serve(host, port, not no_browser, lambda text: click.echo(text))
    return 0
