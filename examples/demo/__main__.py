"""Run the demo: `python -m examples.demo`. The exit code is 0 if every thumbnail is right, 1 if not, 130 on Ctrl-C."""

from __future__ import annotations

import argparse
import os
import shutil
import signal
import sys
import tempfile
from pathlib import Path
from types import FrameType

from examples.demo.client import DemoFailed
from examples.demo.processes import SOCKET_PATH_LIMIT, store_socket
from examples.demo.screen import Screen
from examples.demo.story import Options, Story


def main() -> int:
    arguments = parse_arguments()
    # However the demo is stopped, it must stop the processes that it started.
    for name in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(name, interrupt)
    if arguments.data is None:
        work, keep = Path(tempfile.mkdtemp(prefix="queuey-demo-")), arguments.keep
    else:
        work, keep = arguments.data.absolute(), True
        work.mkdir(parents=True, exist_ok=True)
    try:
        return play(Options(work, arguments.pictures, arguments.kill), Screen())
    finally:
        if keep:
            print(f"kept in {work}")
        else:
            shutil.rmtree(work, ignore_errors=True)


def play(options: Options, screen: Screen) -> int:
    story = Story(options, screen)
    try:
        differences = story.run()
    except KeyboardInterrupt:
        screen.say("interrupted; the server and its store are stopped", "yellow")
        return 130
    except DemoFailed as failure:
        differences = [str(failure), *story.differences]
    if differences:
        screen.say("The result is WRONG:", "bold red")
        for difference in differences:
            screen.say(f"  - {difference}")
        screen.say(f"the end of the server's log:\n{story.server.log_tail()}", "dim")
        return 1
    screen.say(
        f"all {len(story.plan)} thumbnails open and have the right size; every count matches",
        "bold green",
    )
    return 0


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m examples.demo", description="Thumbnails of real pictures, made and checked by Queuey."
    )
    parser.add_argument("--kill", choices=("server", "store"), help="Kill this process with SIGKILL half-way.")
    parser.add_argument(
        "--pictures", type=picture_count, default=300, help="Number of good pictures, 10 to 5,000. Default: 300."
    )
    parser.add_argument("--data", type=empty_folder, metavar="DIR", help="Empty or new folder to work in. It is kept.")
    parser.add_argument("--keep", action="store_true", help="Keep the temporary folder.")
    return parser.parse_args()


def picture_count(text: str) -> int:
    count = int(text)
    if not 10 <= count <= 5000:
        raise argparse.ArgumentTypeError(f"{count} is not within 10 to 5000")
    return count


def empty_folder(text: str) -> Path:
    folder = Path(text)
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise argparse.ArgumentTypeError(f"{text} is not an empty folder")
    excess = len(os.fsencode(store_socket(folder.absolute()))) - SOCKET_PATH_LIMIT
    if excess > 0:
        raise argparse.ArgumentTypeError(f"the path is {excess} bytes too long for a socket inside it")
    return folder


def interrupt(_signal: int, _frame: FrameType | None) -> None:
    raise KeyboardInterrupt


if __name__ == "__main__":
    sys.exit(main())
