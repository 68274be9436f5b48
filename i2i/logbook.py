"""What is written about the work while it goes on: a record of each output, and the inputs that failed."""

import json
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from i2i import atomic
from i2i.errors import UserError
from i2i.items import Record
from i2i.naming import Job, identity


@dataclass(frozen=True)
class Logbook:
    """`log` gets a line of JSON for each record; `errors_to` the path of each input that failed, as a list of files.

    The paths have a zero byte behind them where lists have that (`null`), else a line break. The log is always added to;
    the list starts anew, unless it is `shared` by processes that do parts of the work. Each record is one write, so that
    the files are whole whenever the work ends, and processes do not mix their lines.
    """

    log: Path | None = None
    errors_to: Path | None = None
    null: bool = False
    shared: bool = False

    def check(self, jobs: Sequence[Job], files_from: str | Path | None = None) -> None:
        """Raise UserError where a file is one that the work reads or writes, or cannot hold what is to be written."""
        needed = [path for job in jobs for path in (job.input, *(output.path for output in job.outputs))]
        needed += [Path(files_from)] if files_from else []
        for file, other in ((self.log, self.errors_to), (self.errors_to, self.log)):
            if file and _is_among(file, [*needed, other] if other else needed):
                raise UserError(f"'{file}' is needed for something else", "give --log and --errors-to files of their own")
        broken = next((job.input for job in jobs if "\n" in str(job.input)), None)
        if self.errors_to and not self.null and broken:
            raise UserError(f"the name {str(broken)!r} has a line break, and --errors-to a name on each line", "-0 ends them")

    @contextmanager
    def open(self) -> Iterator[Callable[[Record], None]]:
        """Give the function that notes a record."""
        last: Path | None = None
        with ExitStack() as files:
            log = files.enter_context(_writing(self.log, anew=False)) if self.log else None
            failed = files.enter_context(_writing(self.errors_to, anew=not self.shared)) if self.errors_to else None

            def note(record: Record) -> None:
                nonlocal last
                if log:
                    log(json.dumps(record.tree()).encode() + b"\n")
                if failed and record.status == "failed" and record.input != last:  # it can have several outputs
                    failed(os.fsencode(record.input) + (b"\0" if self.null else b"\n"))
                    last = record.input

            yield note


NOTHING = Logbook()


def _is_among(file: Path, others: Sequence[Path]) -> bool:
    """Whether it is one of the others, by name or through a link."""
    name, known = file.absolute(), identity(file)
    return any(other.absolute() == name for other in others) or bool(known and known in map(identity, others))


@contextmanager
def _writing(file: Path, *, anew: bool) -> Iterator[Callable[[bytes], None]]:
    try:
        handle = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_APPEND | (os.O_TRUNC if anew else 0), 0o666)
    except OSError as error:
        raise UserError(f"cannot write '{file}': {error.strerror}", "the folder must be there and may be written to") from None

    def write(line: bytes) -> None:
        with atomic.explaining(file):
            os.write(handle, line)

    try:
        yield write
    finally:
        os.close(handle)
