"""Pretrains a visual backbone on random scenes:   python -m act pretrain data/cube/scenes.hdf5 --out runs/cube_trunk

The backbone learns to locate keypoints in the images of each camera. The labels come from the simulator and are used
only to pretrain vision; demonstrations and test episodes are not read. Augmentation is photometric: the cameras never
move, so a shifted image would have a wrong label. An interrupted pretraining resumes; a finished one is kept.

    OUT/trunk.safetensors, trunk.json   the backbone, for train.py --trunk OUT
    OUT/pretrain.json                   the recipe, and the median error in pixels on held-out scenes
    OUT/pretrain.png                    held-out scenes with true (circles) and predicted (crosses) keypoints
    OUT/last/state.safetensors          what an interrupted pretraining continues from
"""

import json
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import cv2
import numpy as np
import tyro
from tqdm import tqdm

from act import command_line
from act.files import lock_folder, read_json, whole_file, write_json
from act.nn.tensors import read_with_digest, tensors_digest, write_with_digest
from act.nn.vision import KeypointConfig
from act.training.pretraining import Pretraining, Recipe
from act.training.scenes import Scenes, read_scenes

SAVE_EVERY = 100  # steps
PROGRESS_SCENES = 16  # held-out scenes for the error in the progress bar
PICTURE_SCENES = 4
COLOURS = ((230, 60, 60), (60, 160, 230), (250, 190, 40), (80, 200, 120), (200, 90, 220))  # RGB, one per keypoint
DEFAULTS = {  # backbone -> recipe
    "keypoints": {"steps": 800, "batch_size": 32, "lr": 3e-3},
    "resnet18": {"steps": 2000, "batch_size": 24, "lr": 1e-3},
}


@dataclass(frozen=True)
class Options:
    """What to pretrain, and for how long."""

    file: Annotated[Path, tyro.conf.Positional]
    """File of scenes, written by `record_sim_episodes.py --random_scenes`."""
    out: Annotated[Path | None, tyro.conf.arg(metavar="DIR")] = None
    """Folder for the backbone (default: runs/TASK_trunk, or runs/TASK_resnet18, where train.py looks for it)."""
    backbone: Literal["keypoints", "resnet18"] = "keypoints"
    """The small keypoint detector of preset fast, or the ResNet-18 of ACT."""
    steps: int | None = None
    """Optimizer updates (default: 800 for keypoints, 2000 for resnet18); the learning rate ends at zero."""
    batch_size: int | None = None
    """Images per step, each of a random scene and camera (default: 32 for keypoints, 24 for resnet18)."""
    lr: float | None = None
    """Peak learning rate of AdamW (default: 0.003 for keypoints, 0.001 for resnet18)."""
    channels: tuple[int, int, int, int] = KeypointConfig.channels
    """Channels of the keypoint detector at stride 2, 4, 8, 16."""
    seed: int = 0
    """Seed of initial weights, batches and augmentation."""
    device: str = "auto"
    """Device: auto (a GPU if there is one), cpu, cuda, cuda:1."""

    @property
    def recipe(self) -> Recipe:
        """The recipe, with the defaults of the backbone. Raises ValueError for values that cannot work."""
        if self.backbone != "keypoints" and self.channels != KeypointConfig.channels:
            channels = " ".join(map(str, self.channels))
            raise ValueError(f"--channels {channels} has an effect only with --backbone keypoints; leave it out")
        given = {name: getattr(self, name) for name in DEFAULTS[self.backbone]}
        chosen = DEFAULTS[self.backbone] | {name: value for name, value in given.items() if value is not None}
        values: dict[str, Any] = chosen
        return Recipe(self.backbone, channels=self.channels, seed=self.seed, **values)


def pretrain(scenes: Scenes, recipe: Recipe, out: Path, device: str = "auto") -> dict[str, dict[str, float]]:
    """Trains and saves a backbone; returns its median errors [pixels] on held-out scenes, per camera and keypoint.

    Resumes an interrupted call from `out`, and trains nothing when `out` holds the finished backbone of this recipe.
    Raises ValueError when `out` belongs to another recipe or other scenes.
    """
    training = Pretraining(scenes, recipe, device)
    if (finished := _finished(training, out)) is not None:
        return finished
    state = out / "last" / "state.safetensors"
    _resume(training, state)
    description = "pretraining"
    with tqdm(total=recipe.steps, initial=training.step, unit="step", dynamic_ncols=True, desc=description) as bar:
        smooth, pixels = None, ""
        for loss in training.train():
            smooth = loss if smooth is None else 0.98 * smooth + 0.02 * loss
            if training.step % SAVE_EVERY == 0 and training.step < recipe.steps:
                _save(training, state)
                pixels = f", error {_mean_error(training.errors(PROGRESS_SCENES)):.1f} px"
            bar.update()
            bar.set_postfix_str(f"loss {smooth:.3f}{pixels}", refresh=False)
    errors = training.errors()
    training.network.save(out)
    _draw(training, out / "pretrain.png")
    write_json(out / "pretrain.json", {"median_pixel_error": errors, **_belongs_to(training)})
    state.unlink(missing_ok=True)
    return errors


def _finished(training: Pretraining, out: Path) -> dict[str, dict[str, float]] | None:
    """The errors of the backbone that is finished in `out`, or None. Raises as `pretrain`, with the path."""
    path = out / "pretrain.json"
    if not path.exists() or not (out / "trunk.safetensors").exists():
        return None
    record = read_json(path)
    if not _same(record, training) or "median_pixel_error" not in record:
        raise ValueError(f"{path} belongs to another recipe or other scenes; choose another --out, or delete {out}")
    return record["median_pixel_error"]


def _belongs_to(training: Pretraining) -> dict[str, Any]:
    """What must be the same when a pretraining is resumed, as JSON values."""
    labels = {"points": training.scenes.points, "visible": training.scenes.visible}
    about = {"scenes": len(training.scenes.images), "task": training.scenes.task_name}
    return json.loads(json.dumps({"recipe": asdict(training.recipe), "labels": tensors_digest(labels), **about}))


def _same(header: dict[str, Any], training: Pretraining) -> bool:
    """Whether `header` was written for this recipe and these scenes; earlier versions wrote no labels."""
    return "recipe" in header and all(header.get(key, value) == value for key, value in _belongs_to(training).items())


def _save(training: Pretraining, path: Path) -> None:
    header = json.dumps({"step": training.step, **_belongs_to(training)})
    write_with_digest(path, training.state(), {"state": header})


def _resume(training: Pretraining, path: Path) -> None:
    """Continues from `path`, if it exists.

    Raises ValueError, with the path, when it is damaged or belongs to another recipe or other scenes.
    """
    if not path.exists():
        return
    try:
        tensors, texts = read_with_digest(path)
        header = json.loads(texts["state"])
        if _same(header, training):
            training.restore(header["step"], tensors)
            return
    except (KeyError, TypeError, AttributeError, ValueError, RecursionError) as error:
        reason = str(error).removeprefix(f"{path} cannot be read: ")
        raise ValueError(f"{path} cannot be read ({reason}); delete {path.parent} to start again") from error
    raise ValueError(f"{path} belongs to another recipe or other scenes; repeat those, or delete {path.parent}")


def _mean_error(errors: dict[str, dict[str, float]]) -> float:
    """The mean of the median errors [pixels] over cameras and keypoints."""
    return float(np.mean([value for row in errors.values() for name, value in row.items() if name != "seen"]))


def _draw(training: Pretraining, path: Path) -> None:
    """Draws a row per held-out scene and a column per camera: true keypoints as circles, predictions as crosses."""
    scenes = training.scenes
    first = len(scenes.images) - min(training.held_out, PICTURE_SCENES)
    found, rows = training.locate(slice(first, None)), []
    for s, images in enumerate(scenes.images[first:].numpy()):
        tiles = []
        for n, image in enumerate(images):
            tile = np.ascontiguousarray(image)
            for p in range(len(scenes.keypoints)):
                colour = COLOURS[p % len(COLOURS)]
                if scenes.visible[first + s, n, p]:
                    cv2.circle(tile, _pixel(scenes.points[first + s, n, p]), 5, colour, 1, cv2.LINE_AA)
                if found[s, n, p, 2] > 0.5:
                    cv2.drawMarker(tile, _pixel(found[s, n, p, :2]), colour, cv2.MARKER_CROSS, 9, 1, cv2.LINE_AA)
            tiles.append(tile)
        rows.append(np.hstack(tiles))
    encoded = cv2.imencode(".png", cv2.cvtColor(np.vstack(rows), cv2.COLOR_RGB2BGR))[1]
    with whole_file(path) as temporary:
        temporary.write_bytes(encoded.tobytes())


def _pixel(point: Any) -> tuple[int, int]:
    return round(float(point[0])), round(float(point[1]))


def main(arguments: Sequence[str] | None = None) -> int:
    def work() -> None:
        options = command_line.parse(
            Options,
            sys.argv[1:] if arguments is None else arguments,
            program="python -m act pretrain",
            description="Pretrain a visual backbone on random scenes. Interrupted, the same command resumes.",
            example="python -m act pretrain data/sim_transfer_cube_scripted/scenes.hdf5",
            page="README.md",
        )
        recipe, scenes = options.recipe, read_scenes(options.file)
        name = "trunk" if options.backbone == "keypoints" else options.backbone
        out = options.out or Path("runs") / f"{scenes.task_name}_{name}"
        with lock_folder(out, "pretrained", "--out"):
            errors = pretrain(scenes, recipe, out, options.device)
        for camera, row in errors.items():
            print(f"{camera:16s}", "  ".join(f"{name} {value:.2f}" for name, value in row.items()))
        print(f"median error [pixels] of visible keypoints, and accuracy of predicted visibility; backbone in {out}")

    return command_line.run("pretrain", work, stopped="the same command continues")
