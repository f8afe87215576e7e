"""Tables that one step of preparation leaves for the next: Arrow files of numbered pieces, each read on its own.

They live only while preparation runs, so nothing waits for the disk; a file cut short is refused like any other.
"""

from collections.abc import Sequence

import pyarrow as pa

from metarec import storage
from metarec.errors import StorageError


def write_pieces(uri: str, pieces: Sequence[pa.Table]) -> None:
    """Write tables of one schema as the pieces 0, 1, … of a file.

    Raises:
        StorageError: the file cannot be written.
    """
    filesystem, path = storage.open_filesystem(uri)
    options = pa.ipc.IpcWriteOptions(compression="lz4")
    try:
        filesystem.create_dir(path.rpartition("/")[0], recursive=True)
        with (
            filesystem.open_output_stream(path, compression=None) as stream,
            pa.ipc.new_file(stream, pieces[0].schema, options=options) as writer,
        ):
            for piece in pieces:
                # one batch a piece, so that the batch's number is the piece's
                writer.write_batch(_as_batch(piece))
    except OSError as error:
        raise StorageError(f"cannot write {uri}: {error}; free space or choose another output.root") from error


def read_piece(uri: str, number: int) -> pa.Table:
    """One piece of a file of `write_pieces`; the others are not read.

    Raises:
        StorageError: the file is missing, cut short or damaged.
    """
    filesystem, path = storage.open_filesystem(uri)
    try:
        with filesystem.open_input_file(path) as file, pa.ipc.open_file(file) as reader:
            batch = reader.get_batch(number)
            batch.validate(full=True)
            return pa.Table.from_batches([batch])
    except (OSError, pa.ArrowException) as error:
        raise StorageError(f"cannot read {uri}: {error}; prepare the dataset again") from error


def _as_batch(table: pa.Table) -> pa.RecordBatch:
    columns = [pa.concat_arrays([pa.array([], column.type), *column.chunks]) for column in table.columns]
    return pa.RecordBatch.from_arrays(columns, schema=table.schema)
