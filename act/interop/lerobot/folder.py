"""Joins parts, one episode each, to a LeRobot data set of version v3.0."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from act.files import write_json
from act.interop.lerobot import videos
from act.interop.lerobot.identity import ATTRIBUTES
from act.interop.lerobot.layout import CHUNK_SIZE, DATA_PATH, EPISODES_PATH, INFO, OUR_VERSION, VIDEO_PATH
from act.interop.lerobot.parquet import arrow
from act.interop.lerobot.parts import ExportOptions, Part, image_key, vector_names
from act.interop.lerobot.statistics import ImageRecord, Statistics, VectorRecord, flat, vector_statistics

DATA_BYTES = 100 * 2**20  # a file of rows is closed before it becomes larger
VIDEO_BYTES = 200 * 2**20
COUNTERS = ("frame_index", "episode_index", "index", "task_index")


@dataclass(frozen=True)
class Place:
    """Where an episode starts in a file that it shares with others."""

    chunk: int
    file: int
    first: int  # frames before it in the file

    def fields(self, prefix: str) -> dict[str, int]:
        return {f"{prefix}/chunk_index": self.chunk, f"{prefix}/file_index": self.file}


def places(sizes: Sequence[int], lengths: Sequence[int], limit: int) -> list[Place]:
    """Distributes episodes of `sizes` [bytes] over files of at most `limit` bytes, in their order."""
    found: list[Place] = []
    file, used, frames = 0, 0, 0
    for size, length in zip(sizes, lengths, strict=True):
        if used and used + size > limit:
            file, used, frames = file + 1, 0, 0
        found.append(Place(file // CHUNK_SIZE, file % CHUNK_SIZE, frames))
        used, frames = used + size, frames + length
    return found


class FolderWriter:
    """Writes the files of a data set from the parts of its episodes, in their order."""

    def __init__(self, root: Path, parts: Sequence[Part], options: ExportOptions, robot_type: str):
        self.root, self.parts, self.options, self.robot_type = root, parts, options, robot_type
        self.lengths = [part.length for part in parts]
        self.starts = [0, *np.cumsum(self.lengths).tolist()]
        self.tasks = list(dict.fromkeys(part.about["task"] for part in parts))

    def write(self) -> None:
        """Writes everything."""
        episodes = [self._episode(index) for index in range(len(self.parts))]
        self._write_rows(episodes)
        for camera in self.options.cameras if self.options.encoder else ():
            self._write_videos(camera, episodes)
        self._write_table(EPISODES_PATH.format(chunk_index=0, file_index=0), episodes)
        self._write_tasks()
        write_json(self.root / "meta/stats.json", self._global_statistics())
        lines = [json.dumps({"identity": part.about["identity"], "attrs": part.about["attrs"]}) for part in self.parts]
        (self.root / ATTRIBUTES).write_text("\n".join(lines) + "\n", encoding="utf-8")
        write_json(self.root / INFO, self._info())

    # ------------------------------------------------------------------------------------------------- data and videos
    def _counters(self, index: int) -> dict[str, np.ndarray]:
        """Returns the columns of an episode that depend on its place in the data set; timestamp is in seconds."""
        part, n = self.parts[index], self.lengths[index]
        task = self.tasks.index(part.about["task"])
        frames = np.arange(n)
        counted = (frames, np.full(n, index), frames + self.starts[index], np.full(n, task))
        return {
            "timestamp": (frames / self.options.fps).astype(np.float32),
            **dict(zip(COUNTERS, counted, strict=True)),
        }

    def _write_rows(self, episodes: list[dict[str, Any]]) -> None:
        """Writes the rows of all episodes, one row group of a part at a time."""
        pa = arrow()
        found = places([part.rows.stat().st_size for part in self.parts], self.lengths, DATA_BYTES)
        writer: Any = None
        opened = None
        for index, place in enumerate(found):
            counters = self._counters(index)
            with pa.parquet.ParquetFile(self.parts[index].rows) as source:
                first = 0
                for group in range(source.num_row_groups):
                    table = source.read_row_group(group)
                    for name, values in counters.items():
                        table = table.append_column(name, pa.array(values[first : first + len(table)]))
                    first += len(table)
                    if opened != (place.chunk, place.file):
                        if writer is not None:
                            writer.close()
                        opened = (place.chunk, place.file)
                        writer = pa.parquet.ParquetWriter(self._new(DATA_PATH, place), table.schema)
                    writer.write_table(table)
            episodes[index] |= place.fields("data")
        if writer is not None:
            writer.close()

    def _write_videos(self, camera: str, episodes: list[dict[str, Any]]) -> None:
        """Joins the videos of a camera without encoding them again."""
        files = [part.video(camera) for part in self.parts]
        found = places([file.stat().st_size for file in files], self.lengths, VIDEO_BYTES)
        together: dict[tuple[int, int], list[tuple[Path, int]]] = {}
        key, fps = image_key(camera), self.options.fps
        for index, place in enumerate(found):
            together.setdefault((place.chunk, place.file), []).append((files[index], self.lengths[index]))
            span = {"from_timestamp": place.first / fps, "to_timestamp": (place.first + self.lengths[index]) / fps}
            episodes[index] |= place.fields(f"videos/{key}")
            episodes[index] |= {f"videos/{key}/{name}": value for name, value in span.items()}
        for (chunk, file), parts in together.items():
            videos.join(parts, self._new(VIDEO_PATH, Place(chunk, file, 0), video_key=key), fps)

    def _new(self, template: str, place: Place, **values: str) -> Path:
        path = self.root / template.format(chunk_index=place.chunk, file_index=place.file, **values)
        path.parent.mkdir(parents=True, exist_ok=True)
        return path

    # ------------------------------------------------------------------------------------------------------------ meta
    def _episode(self, index: int) -> dict[str, Any]:
        """Returns the row of meta/episodes; where its data and videos are is added when they are written."""
        part, start = self.parts[index], self.starts[index]
        found = {**part.about["statistics"]}
        found |= {name: vector_statistics(values) for name, values in self._counters(index).items()}
        for camera, (frames, counts) in part.about["images"].items():
            found[image_key(camera)] = ImageRecord(counts, frames).statistics()
        row = {"episode_index": index, "tasks": [part.about["task"]], "length": part.length}
        row |= {"dataset_from_index": start, "dataset_to_index": start + part.length}
        row |= {"meta/episodes/chunk_index": 0, "meta/episodes/file_index": 0}
        return row | flat(found)

    def _write_table(self, name: str, rows: list[dict[str, Any]]) -> None:
        pa = arrow()
        path = self.root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        pa.parquet.write_table(pa.Table.from_pylist(rows), path)

    def _write_tasks(self) -> None:
        """Writes the tasks as pandas would, with the texts as index, because LeRobot reads them with pandas."""
        pa = arrow()
        table = pa.table({"task_index": list(range(len(self.tasks))), "task": self.tasks})
        columns = [("task_index", "int64", "int64"), ("task", "unicode", "object")]
        described = [{"name": n, "field_name": n, "pandas_type": t, "numpy_type": k} for n, t, k in columns]
        about = {
            "index_columns": ["task"],
            "column_indexes": [],
            "columns": [{**d, "metadata": None} for d in described],
        }
        about |= {"pandas_version": "2.2.0", "creator": {"library": "pyarrow", "version": pa.__version__}}
        table = table.replace_schema_metadata({"pandas": json.dumps(about)})
        pa.parquet.write_table(table, self.root / "meta/tasks.parquet")

    def _global_statistics(self) -> dict[str, Statistics]:
        """Returns the statistics of all episodes; the rows are read once more, an episode at a time."""
        vectors = {name: VectorRecord() for name in (*self.options.vectors, "timestamp", *COUNTERS)}
        images = {camera: ImageRecord() for camera in self.options.cameras}
        for index, part in enumerate(self.parts):
            table = arrow().parquet.read_table(part.rows, columns=list(self.options.vectors))
            rows = {name: np.asarray(table.column(name).to_pylist()) for name in self.options.vectors}
            for name, values in (rows | self._counters(index)).items():
                vectors[name].add(values)
            for camera, (frames, counts) in part.about["images"].items():
                images[camera].add_record(ImageRecord(counts, frames))
        found = {name: record.statistics() for name, record in vectors.items()}
        return found | {image_key(camera): record.statistics() for camera, record in images.items()}

    def _info(self) -> dict[str, Any]:
        return {
            "codebase_version": OUR_VERSION,
            "robot_type": self.robot_type,
            "fps": self.options.fps,
            "total_episodes": len(self.parts),
            "total_frames": self.starts[-1],
            "total_tasks": len(self.tasks),
            "chunks_size": CHUNK_SIZE,
            "data_files_size_in_mb": 100,
            "video_files_size_in_mb": 200,
            "splits": {"train": f"0:{len(self.parts)}"},
            "data_path": DATA_PATH,
            "video_path": VIDEO_PATH if self.options.encoder and self.options.cameras else None,
            "features": self._features(),
        }

    def _features(self) -> dict[str, dict[str, Any]]:
        """Returns the features of info.json; sizes are those of the first episode, which all others share."""
        features: dict[str, dict[str, Any]] = {}
        for name, found in self.parts[0].about["statistics"].items():
            width = len(found["mean"])
            features[name] = {"dtype": "float32", "shape": [width], "names": vector_names(width) if width > 1 else None}
        for camera, (height, width) in self.parts[0].about["sizes"].items():
            shape: dict[str, Any] = {"shape": [height, width, 3], "names": ["height", "width", "channels"]}
            info = self.options.encoder and self.options.encoder.feature_info(height, width, self.options.fps)
            features[image_key(camera)] = (
                {"dtype": "video", **shape, "info": info} if info else {"dtype": "image", **shape}
            )
        features["timestamp"] = {"dtype": "float32", "shape": [1], "names": None}
        return features | {name: {"dtype": "int64", "shape": [1], "names": None} for name in COUNTERS}
