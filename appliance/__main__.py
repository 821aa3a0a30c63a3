"""The command line: `homard`.

Longer than 400 lines: every command stands here with its help, which is what a newcomer reads first.
"""

from __future__ import annotations

import argparse
import asyncio
import codecs
import contextlib
import gc
import json
import logging
import signal
import socket
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from appliance import __version__
from appliance.config.loader import ConfigError
from appliance.config.log import Bounded
from appliance.config.sections import Settings, describe, load, show
from appliance.state import CommandFailed

if TYPE_CHECKING:
    from appliance.commands import DeviceCommand

DEFAULT_STATE = Path("/var/lib/homard")
DEFAULT_CONFIG = Path("/etc/homard/homard.toml")

log = logging.getLogger("appliance")

EXIT_USAGE = 2
# What Windows writes before a text, and what the text is then.
_MARKS = ((codecs.BOM_UTF8, "utf-8-sig"), (codecs.BOM_UTF16_LE, "utf-16"), (codecs.BOM_UTF16_BE, "utf-16"))


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; returns the exit code: 0 well, 1 failed, 2 asked wrongly."""
    parser = _parser()
    options = parser.parse_args(arguments)
    if options.run is None:
        parser.print_help()
        return EXIT_USAGE
    run: Callable[[argparse.Namespace], int] = options.run
    try:
        return run(options)
    except ConfigError as error:
        for problem in error.problems:
            print(problem, file=sys.stderr)
        return EXIT_USAGE
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:
        return 1


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="homard",
        description="Homard Edge, a LwM2M gateway: register, see and manage small devices from one board.",
        epilog="Start with: homard serve --state ./state   (then open the URL it prints)",
    )
    parser.add_argument("--version", action="version", version=f"homard {__version__}")
    parser.set_defaults(run=None)
    commands = parser.add_subparsers(title="commands", metavar="COMMAND")

    serve = _command(commands, "serve", "run the gateway until it is stopped", _serve)
    _add_state(serve)
    _add_settings(serve)

    simulate = _command(
        commands, "simulate", "run simulated devices against a gateway, to try it without hardware", _simulate
    )
    if len(sys.argv) > 1 and "simulate" in sys.argv[1:3]:
        # aiocoap takes a quarter of a second to import, and only this command needs it.
        from appliance.simulator import add_arguments

        add_arguments(simulate)
    else:
        simulate.add_argument("arguments", nargs="*", help=argparse.SUPPRESS)

    check = _command(commands, "check", "check configuration and stored data, change nothing", _check)
    _add_state(check)
    _add_settings(check)
    check.add_argument("--show", action="store_true", help="print the settings in force (secrets masked)")
    check.add_argument(
        "--describe", action="store_true", help="print a configuration file with every setting explained"
    )

    backup = _command(
        commands,
        "backup",
        "write all data and the sealing key into one encrypted file; the gateway may be running",
        _backup,
    )
    _add_state(backup)
    _add_settings(backup)
    _add_passphrase(backup)
    backup.add_argument("file", type=Path, help="the file to write, for example homard.backup")
    backup.add_argument(
        "--plain",
        action="store_true",
        help="do not encrypt: a .tar.gz without the sealing key. The devices' keys in it are sealed and open "
        "on this unit only, all other data lies open; it brings back this unit, not a lost one",
    )
    backup.add_argument(
        "--without-files", action="store_true", help="leave out the content of stored files, such as firmware"
    )

    restore = _command(commands, "restore", "bring back a backup; the gateway must be stopped", _restore)
    _add_state(restore)
    _add_settings(restore)
    _add_passphrase(restore)
    restore.add_argument("file", type=Path, help="a file that `homard backup` wrote")
    restore.add_argument(
        "--force", action="store_true", help="replace what the state folder holds now (it is kept aside)"
    )

    _add_device_commands(commands)

    account = commands.add_parser(
        "account", help="people who may log in", description="People who may log in."
    )
    verbs = account.add_subparsers(title="commands", metavar="COMMAND", required=True)
    password = _command(
        verbs, "set-password", "set a password; makes the account if there is none", _set_password
    )
    _add_state(password)
    password.add_argument("name", metavar="NAME", help="the account, for example admin")
    password.add_argument(
        "--stdin", action="store_true", help="read the password from the first line of standard input"
    )
    accounts = _command(verbs, "list", "list the accounts", _list_accounts)
    _add_state(accounts)

    token = commands.add_parser(
        "token",
        help="tokens for programs that use the API",
        description="Tokens for programs that use the API.",
    )
    verbs = token.add_subparsers(title="commands", metavar="COMMAND", required=True)
    create = _command(verbs, "create", "make a token and print it, this once", _create_token)
    _add_state(create)
    create.add_argument(
        "name", metavar="NAME", nargs="?", default="cli", help="what it is for (default: cli)"
    )
    create.add_argument(
        "--scopes",
        default="read,operate",
        help="what it may do, comma-separated: read, operate, admin (default: read,operate)",
    )
    create.add_argument("--days", type=float, default=0, help="days until it expires (default: 0, never)")
    tokens = _command(verbs, "list", "list the tokens, without their secrets", _list_tokens)
    _add_state(tokens)
    revoke = _command(verbs, "revoke", "end a token", _revoke_token)
    _add_state(revoke)
    revoke.add_argument("id", metavar="ID", help="as `homard token list` shows it")
    return parser


def _add_device_commands(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    device = commands.add_parser(
        "device",
        help="devices and their keys: add, list, import, label, rotate, revoke",
        description="Devices and their keys. The gateway may be running; it notices at once.",
        epilog="Start with: homard device add NAME   (makes a key and prints what to flash)",
    )
    verbs = device.add_subparsers(title="commands", metavar="COMMAND", required=True)

    add = _device(verbs, "add", "add a device and print what must be flashed", _add_device)
    add.add_argument("name", metavar="NAME", help="its LwM2M endpoint name, for example meter-17")
    add.add_argument("--label", default="", help="what people call it, for example 'Cellar, left'")
    add.add_argument("--group", action="append", default=[], help="a group it is in; may be repeated")
    add.add_argument("--tag", action="append", default=[], help="a tag it has; may be repeated")
    add.add_argument(
        "--security",
        choices=("psk", "rpk", "x509", "oscore", "nosec"),
        default="psk",
        help="psk: a pre-shared key (default); rpk: a raw public key; x509: a certificate of the own "
        "authority; oscore: object security without DTLS; nosec: none, which only a trusted network bears",
    )
    add.add_argument(
        "--bootstrap",
        action="store_true",
        help="the key is for the bootstrap server, which then gives the device its server and key",
    )
    add.add_argument(
        "--plan", metavar="ID", help="its bootstrap plan, as the page lists them (default: default)"
    )
    _add_material(add)
    _add_output(add)

    show = _device(verbs, "show", "show a device and its keys, never the secrets", _show_device)
    show.add_argument("name", metavar="NAME")
    show.add_argument("--json", action="store_true", help="print JSON")

    listing = _device(verbs, "list", "list the devices that have keys", _list_devices)
    listing.add_argument("--group", default="", help="only devices in this group")
    listing.add_argument("--tag", default="", help="only devices with this tag")
    listing.add_argument("--search", default="", metavar="TEXT", help="only where name or label contain this")
    listing.add_argument("--json", action="store_true", help="print JSON")

    importing = _device(
        verbs, "import", "add the devices of a list: all, or none if a row is wrong", _import_devices
    )
    importing.add_argument("file", metavar="FILE", help="CSV or JSON; - reads standard input")
    importing.add_argument("--dry-run", action="store_true", help="only say what is wrong with it")
    importing.add_argument("--json", action="store_true", help="print all that the devices need, as JSON")
    _add_address(importing)
    importing.epilog = (
        "CSV: the first line names the columns. Only endpoint_name must be there; the others are label, "
        "groups, tags, security, psk_identity, psk_key_hex, public_key, certificate, bootstrap_psk_identity, "
        "bootstrap_psk_key_hex, plan and nosec. Keys that are not given are made, and certificates where "
        "security says x509; they are printed this once."
    )

    export = _device(verbs, "export", "write the devices as a list, without secrets", _export_devices)
    export.add_argument("--format", choices=("csv", "json"), default="csv", help="default: csv")
    export.add_argument("--group", default="", help="only devices in this group")
    export.add_argument("--output", type=Path, metavar="FILE", help="default: standard output")

    label = _device(
        verbs, "label", "draw labels to print (SVG): name, address and QR code, no key", _label_devices
    )
    label.add_argument(
        "names", metavar="NAME", nargs="*", help="one: a label; several, or none: sheets of A4"
    )
    label.add_argument("--group", default="", help="a sheet of the devices in this group")
    label.add_argument(
        "--output", type=Path, metavar="FILE", help="for example label.svg; default: standard output"
    )
    _add_address(label)

    rotate = _device(
        verbs, "rotate", "give a device a new key and print what must be flashed", _rotate_device
    )
    rotate.add_argument("name", metavar="NAME")
    rotate.add_argument("--purpose", choices=("server", "bootstrap"), help="default: the key for the server")
    rotate.add_argument(
        "--now",
        action="store_true",
        help="revoke the old key at once; without it, the old key is good until the new one is used",
    )
    _add_material(rotate)
    _add_output(rotate)

    revoke = _device(verbs, "revoke", "let a device in no more", _revoke_device)
    revoke.add_argument("name", metavar="NAME")
    revoke.add_argument("--reason", default="", help="for the audit log, for example stolen")
    reinstate = _device(
        verbs, "reinstate", "let a revoked device in again, with its old key", _reinstate_device
    )
    reinstate.add_argument("name", metavar="NAME")
    remove = _device(verbs, "remove", "forget a device and its keys", _remove_device)
    remove.add_argument("name", metavar="NAME")
    rebootstrap = _device(
        verbs,
        "rebootstrap",
        "have devices bootstrap again, to get new keys or another server",
        _rebootstrap_devices,
    )
    rebootstrap.add_argument("names", metavar="NAME", nargs="*")
    rebootstrap.add_argument("--group", default="", help="the devices in this group")
    rebootstrap.add_argument(
        "--plan", metavar="ID", help="give them this bootstrap plan first, as the page lists them"
    )
    rebootstrap.add_argument(
        "--withdraw", action="store_true", help="they need not any more; who was not told yet is not told"
    )


def _device(
    verbs: argparse._SubParsersAction[argparse.ArgumentParser],
    name: str,
    sentence: str,
    run: Callable[[argparse.Namespace], int],
) -> argparse.ArgumentParser:
    parser = _command(verbs, name, sentence, run)
    parser.set_defaults(address="")
    _add_state(parser)
    _add_settings(parser)
    return parser


def _add_address(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--address",
        default="",
        metavar="HOST",
        help="name or address by which devices reach this gateway (default: its address in the LAN)",
    )


def _add_material(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("what the device has already (without these, it is made)")
    group.add_argument("--psk-identity", metavar="ID", help="as text, or behind 0x in hex")
    group.add_argument("--psk-key-file", metavar="FILE", help="the key in hex; - reads standard input")
    group.add_argument(
        "--psk-key-hex",
        metavar="HEX",
        help="the key itself; others on this machine may see it while this runs",
    )
    group.add_argument("--public-key-file", metavar="FILE", help="its raw public key: PEM, hex or base64")
    group.add_argument("--certificate-file", metavar="FILE", help="its certificate: PEM, hex or base64")
    group.add_argument("--csr-file", metavar="FILE", help="a certificate request (PEM), to be signed here")


def _add_output(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--client",
        choices=("leshan", "anjay", "wakaama", "zephyr", "all"),
        default="leshan",
        help="whose command line to print (default: leshan)",
    )
    parser.add_argument("--json", action="store_true", help="print all that a client needs as JSON")
    _add_address(parser)


def _command(
    commands: argparse._SubParsersAction[argparse.ArgumentParser],
    name: str,
    sentence: str,
    run: Callable[[argparse.Namespace], int],
) -> argparse.ArgumentParser:
    parser = commands.add_parser(name, help=sentence, description=sentence[0].upper() + sentence[1:] + ".")
    parser.set_defaults(run=run)
    return parser


def _add_state(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--state",
        type=Path,
        default=DEFAULT_STATE,
        metavar="DIR",
        help=f"the folder with all data (default: {DEFAULT_STATE})",
    )


def _add_passphrase(parser: argparse.ArgumentParser) -> None:
    given = parser.add_mutually_exclusive_group()
    given.add_argument(
        "--passphrase-file",
        type=Path,
        metavar="FILE",
        help="read the passphrase from the first line of a file instead of asking for it",
    )
    given.add_argument(
        "--stdin", action="store_true", help="read the passphrase from the first line of standard input"
    )


def _add_settings(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--config",
        type=Path,
        metavar="FILE",
        help=f"the configuration file (default: {DEFAULT_CONFIG} if it exists)",
    )
    parser.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="SECTION.NAME=VALUE",
        help="override one setting, for example --set coap.port=15683; may be repeated",
    )


def _settings(options: argparse.Namespace) -> Settings:
    config: Path | None = options.config
    if config is None and DEFAULT_CONFIG.exists():
        config = DEFAULT_CONFIG
    return load(config, options.set)


def _fail(message: str) -> int:
    print(f"homard: {message}", file=sys.stderr)
    return 1


# serve


def _serve(options: argparse.Namespace) -> int:
    settings = _settings(options)
    handler = logging.StreamHandler(sys.stderr)
    if settings.log.level != "debug":
        handler.addFilter(Bounded(time.monotonic))
    logging.basicConfig(
        level=settings.log.level.upper(),
        format="%(levelname)s %(name)s: %(message)s",
        handlers=[handler],
    )
    new_loop: Callable[[], asyncio.AbstractEventLoop] | None = None
    with contextlib.suppress(ImportError):  # without uvloop it is slower, and otherwise the same
        import uvloop

        new_loop = uvloop.new_event_loop
    with asyncio.Runner(loop_factory=new_loop) as runner:
        return runner.run(_serving(settings, options.state))


async def _serving(settings: Settings, state: Path) -> int:
    from appliance.composition import Appliance

    loop = asyncio.get_running_loop()
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    appliance = Appliance(settings, state)
    try:
        await appliance.start()
    except CommandFailed as error:
        return _fail(str(error))
    url = _url(appliance.northbound.port, settings.http.tls)
    if appliance.setup_code is not None:
        log.warning("first start: open %s and enter the setup code %s", url, appliance.setup_code)
    ready = {
        "ready": True,
        "coap": appliance.server.port,
        "coap_tcp": appliance.server.tcp_port,
        "coaps": appliance.server.coaps_port,
        "http": appliance.northbound.port,
        "url": url,
        "setup_code": appliance.setup_code,
    }
    # What the start left behind stays; from here on garbage is rare, and looking for it among ten thousand
    # registrations is not cheap: full collections cost a re-registration 40 us of 85.
    gc.collect()
    gc.freeze()
    gc.set_threshold(20_000, 20, 50)
    # The loop waits about this long for the interpreter whenever a thread computes, for instance a long list
    # for the page. Beside a thread that always computes a registration took 285 us of wall time with Python's
    # 5 ms and 228 us with 1 ms (medians of five); alone it costs the same, and with 0.3 ms a sixth more.
    sys.setswitchinterval(0.001)
    print(json.dumps(ready), flush=True)
    appliance.announce_ready()
    await stop.wait()
    appliance.announce_stopping()
    await appliance.stop()
    return 0


def _url(port: int, tls: bool) -> str:
    return f"{'https' if tls else 'http'}://{_own_address()}:{port}/"


def _own_address() -> str:
    """The address by which the LAN reaches us; connecting a UDP socket sends nothing."""
    with contextlib.suppress(OSError), socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.connect(("192.0.2.1", 9))
        return str(probe.getsockname()[0])
    return "127.0.0.1"


# The other commands


def _simulate(options: argparse.Namespace) -> int:
    from appliance.simulator import options_from, run

    logging.basicConfig(
        level=logging.WARNING, format="%(levelname)s %(name)s: %(message)s", stream=sys.stderr
    )
    return asyncio.run(run(options_from(options)))


def _check(options: argparse.Namespace) -> int:
    if options.describe:
        print(describe(), end="")
        return 0
    settings = _settings(options)
    if options.show:
        print(show(settings), end="")
    from appliance.commands import check_state

    problems = check_state(options.state, settings)
    for problem in problems:
        print(problem, file=sys.stderr)
    if problems:
        return 1
    print(f"configuration and {options.state}: well")
    return 0


def _backup(options: argparse.Namespace) -> int:
    from appliance.commands import back_up

    settings = _settings(options)
    if options.plain and (options.stdin or options.passphrase_file):
        return _fail("a plain backup has no passphrase; leave out --plain to have it encrypted")
    try:
        passphrase = None if options.plain else _passphrase(options, again=True)
        print(
            back_up(
                options.state,
                options.file,
                settings,
                passphrase=passphrase,
                files=not options.without_files,
            )
        )
    except CommandFailed as error:
        return _fail(str(error))
    return 0


def _passphrase(options: argparse.Namespace, *, again: bool) -> str:
    """The passphrase of a backup; who types a new one types it again. Raises CommandFailed."""
    if options.stdin:
        return sys.stdin.readline().rstrip("\r\n")
    if options.passphrase_file is not None:
        try:
            with options.passphrase_file.open(encoding="utf-8") as file:
                return str(file.readline().rstrip("\r\n"))
        except (OSError, UnicodeDecodeError) as error:
            raise CommandFailed(f"the passphrase cannot be read: {error}") from error
    if not sys.stdin.isatty():
        raise CommandFailed(
            "there is nobody to ask for the passphrase: use --passphrase-file or --stdin"
            + (", or --plain for a backup without the sealing key" if again else "")
        )
    import getpass

    passphrase = getpass.getpass("Passphrase of the backup: ")
    if again and getpass.getpass("Again: ") != passphrase:
        raise CommandFailed("the two passphrases differ; nothing was written")
    return passphrase


def _restore(options: argparse.Namespace) -> int:
    from appliance.commands import bring_back

    try:
        print(
            bring_back(
                options.file,
                options.state,
                _settings(options),
                passphrase=lambda: _passphrase(options, again=False),
                force=options.force,
            )
        )
    except CommandFailed as error:
        return _fail(str(error))
    return 0


def _set_password(options: argparse.Namespace) -> int:
    from appliance.commands import set_password

    if options.stdin:
        password = sys.stdin.readline().rstrip("\r\n")
    else:
        import getpass

        password = getpass.getpass(f"New password for {options.name}: ")
        if getpass.getpass("Again: ") != password:
            return _fail("the two passwords differ; nothing was changed")
    try:
        set_password(options.state, options.name, password)
    except CommandFailed as error:
        return _fail(str(error))
    print(f"the password of {options.name} is set")
    return 0


def _list_accounts(options: argparse.Namespace) -> int:
    from appliance.commands import list_accounts

    for line in list_accounts(options.state):
        print(line)
    return 0


def _create_token(options: argparse.Namespace) -> int:
    from appliance.commands import create_token

    scopes = tuple(scope.strip() for scope in options.scopes.split(",") if scope.strip())
    try:
        print(
            create_token(options.state, options.name, scopes, options.days * 86400 if options.days else None)
        )
    except CommandFailed as error:
        return _fail(str(error))
    return 0


def _list_tokens(options: argparse.Namespace) -> int:
    from appliance.commands import list_tokens

    for line in list_tokens(options.state):
        print(line)
    return 0


def _revoke_token(options: argparse.Namespace) -> int:
    from appliance.commands import revoke_token

    try:
        revoke_token(options.state, options.id)
    except CommandFailed as error:
        return _fail(str(error))
    print("revoked")
    return 0


# device


def _with_devices(
    options: argparse.Namespace, call: Callable[[DeviceCommand], str], *, create: bool = False
) -> int:
    """Run one command of devices and print what it says."""
    from appliance.commands import device_command

    try:
        with device_command(options.state, _settings(options), options.address, create=create) as devices:
            print(call(devices))
    except CommandFailed as error:
        return _fail(str(error))
    return 0


def _material(options: argparse.Namespace) -> dict[str, str | None]:
    if options.psk_key_file and options.psk_key_hex:
        raise ConfigError(["give --psk-key-file or --psk-key-hex, not both"])
    return {
        "psk_identity": options.psk_identity,
        "psk_key_hex": options.psk_key_hex or _text_of(options.psk_key_file, der=False),
        "public_key": _text_of(options.public_key_file),
        "certificate": _text_of(options.certificate_file),
        "request": _text_of(options.csr_file),
    }


def _text_of(file: str | None, *, der: bool = True) -> str | None:
    """The text of a file; of one that is no text its hexadecimal digits, where it may be ``der``."""
    if file is None:
        return None
    content = _content_of(file)
    if not content.strip():
        raise ConfigError([f"homard: {file} is empty"])
    encoding = next((name for mark, name in _MARKS if content.startswith(mark)), "ascii")
    try:
        return content.decode(encoding)
    except UnicodeDecodeError:
        if der:
            return content.hex()
        raise ConfigError(
            [f"homard: {file} is no text: write the key into it in hexadecimal digits"]
        ) from None


def _content_of(file: str) -> bytes:
    if file == "-":
        return sys.stdin.buffer.read()
    try:
        return Path(file).read_bytes()
    except OSError as error:
        raise ConfigError([f"homard: {file} cannot be read: {error.strerror}"]) from error


def _write_out(content: bytes, output: Path | None) -> int:
    if output is None:
        sys.stdout.buffer.write(content)
        sys.stdout.buffer.flush()
        return 0
    try:
        output.write_bytes(content)
    except OSError as error:
        return _fail(f"{output} cannot be written: {error.strerror}")
    print(f"written to {output}", file=sys.stderr)
    return 0


def _add_device(options: argparse.Namespace) -> int:
    material = _material(options)
    return _with_devices(
        options,
        lambda devices: devices.add(
            options.name,
            label=options.label,
            groups=options.group,
            tags=options.tag,
            security=options.security,
            bootstrap=options.bootstrap,
            plan=options.plan,
            client=options.client,
            as_json=options.json,
            **material,
        ),
        create=True,
    )


def _rotate_device(options: argparse.Namespace) -> int:
    material = _material(options)
    return _with_devices(
        options,
        lambda devices: devices.rotate(
            options.name,
            purpose=options.purpose,
            now=options.now,
            client=options.client,
            as_json=options.json,
            **material,
        ),
    )


def _show_device(options: argparse.Namespace) -> int:
    return _with_devices(options, lambda devices: devices.show(options.name, as_json=options.json))


def _list_devices(options: argparse.Namespace) -> int:
    return _with_devices(
        options,
        lambda devices: devices.listing(
            group=options.group, tag=options.tag, search=options.search, as_json=options.json
        ),
    )


def _import_devices(options: argparse.Namespace) -> int:
    data, good = _content_of(options.file), True

    def take_in(devices: DeviceCommand) -> str:
        nonlocal good
        said, good = devices.take_in(data, dry_run=options.dry_run, as_json=options.json)
        return said

    return _with_devices(options, take_in, create=True) or (0 if good else 1)


def _export_devices(options: argparse.Namespace) -> int:
    from appliance.commands import device_command

    try:
        with device_command(options.state, _settings(options), "", create=False) as devices:
            content = devices.list_out(group=options.group, form=options.format)
    except CommandFailed as error:
        return _fail(str(error))
    return _write_out(content, options.output)


def _label_devices(options: argparse.Namespace) -> int:
    from appliance.commands import device_command

    try:
        with device_command(options.state, _settings(options), options.address, create=False) as devices:
            drawing = devices.label(options.names, group=options.group)
    except CommandFailed as error:
        return _fail(str(error))
    return _write_out(drawing.encode("utf-8"), options.output)


def _revoke_device(options: argparse.Namespace) -> int:
    return _with_devices(options, lambda devices: devices.revoke(options.name, reason=options.reason))


def _reinstate_device(options: argparse.Namespace) -> int:
    return _with_devices(options, lambda devices: devices.reinstate(options.name))


def _remove_device(options: argparse.Namespace) -> int:
    return _with_devices(options, lambda devices: devices.remove(options.name))


def _rebootstrap_devices(options: argparse.Namespace) -> int:
    if not options.names and not options.group:
        raise ConfigError(["homard: say which devices: a NAME, or --group GROUP"])
    if options.withdraw:
        if options.plan is not None:
            raise ConfigError(["homard: --withdraw takes a wish back and gives no plan: leave --plan out"])
        return _with_devices(
            options, lambda devices: devices.withdraw_rebootstrap(options.names, group=options.group)
        )
    return _with_devices(
        options,
        lambda devices: devices.rebootstrap(options.names, group=options.group, plan=options.plan),
    )


if __name__ == "__main__":
    sys.exit(main())
