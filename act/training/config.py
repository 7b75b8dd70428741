"""TrainConfig: everything a training run depends on, saved as JSON; the presets; the command line of train.py."""

import dataclasses
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

from tyro.conf import OmitArgPrefixes, Suppress, arg

from act import command_line, policies
from act.data.augment import Augmentation
from act.data.frames import Cache
from act.data.labels import Aggregation
from act.policies.base.policy import PolicyConfig
from act.types import task_of, tuples

Preset = Literal["paper", "aloha", "fast", "state"]
EVALUATION_FLAGS = ("--temporal_agg", "--eval", "--onscreen_render")  # of the original's one program; here: eval.py
AT_LEAST_ONE = ("frame_stride", "steps", "batch_size", "log_every", "validate_every", "save_every", "eval_rollouts")
AT_LEAST_ONE += ("scene_batch_size", "unfrozen_batch_size")
NOT_NEGATIVE = ("lr", "lr_backbone", "weight_decay", "warmup_steps", "grad_clip", "eval_every", "seed", "scene_weight")
OF_GRADIENTS = ("batch_size", "lr", "lr_backbone", "weight_decay", "warmup_steps", "schedule", "ema_decay", "grad_clip")
MAY_CHANGE = ("run_dir", "device", "cache", "compile", "log_every", "save_every", "eval_rollouts")  # when resuming


@dataclass(frozen=True)
class TrainConfig:
    """Data, optimisation and bookkeeping of one training run."""

    task_name: str
    """Task and style of the demonstrations: sim_transfer_cube_scripted, sim_insertion_human, ..."""
    policy: OmitArgPrefixes[PolicyConfig]
    """Sizes and ablations of the policy."""
    policy_class: str = "ACT"
    """Policy: the name of a file in act/policies, in any case."""
    preset: Preset = "paper"
    """Source of the defaults. paper: the published setting. aloha: the published network through four cameras, 60-step
    chunks. fast: what learns best on two CPU cores. state: the same with object poses instead of images."""
    dataset_dir: tuple[Path, ...] = ()
    """Folders with episode_*.hdf5: demonstrations, rounds of DAgger (default: data/TASK_NAME)."""
    aggregation: Aggregation = "uniform"
    """Weights of demonstrations, expert labels and the policy's own steps in DAgger (act/data/labels.py)."""
    scenes: Path | None = None
    """File of random scenes in which the encoder also learns to locate keypoints, in the same steps (co-training).
    Preset aloha takes the file scenes.hdf5 beside its episodes, unless its policy sees object poses."""
    scene_weight: float = 1.0
    """Weight of that loss; with 0, preset aloha needs no scenes."""
    scene_batch_size: int = 32
    """Scenes per step."""
    warm_start: Path | None = None
    """Start from the weights and statistics of this run instead of fresh ones."""
    run_dir: Annotated[Path | None, arg(aliases=["--ckpt_dir"])] = None
    """Folder for checkpoints and logs (default: runs/TASK_POLICY_PRESET_seedSEED)."""
    cameras: tuple[str, ...] = ("top",)
    """Cameras that the policy uses."""
    image_size: tuple[int, int] = (480, 640)
    """Height and width [pixels] of the policy's images."""
    jpeg_colors: Literal["auto", "rgb", "bgr"] = "auto"
    """Order in which OpenCV returns the channels of the recorded JPEGs; auto: what the files say, or rgb."""
    shift_real: bool = True
    """Begin the chunks of real robots' episodes one control step earlier, as the original code does."""
    base_action: bool = False
    """Append the velocities of a mobile base (/base_action of act++) to the actions, which then have 16 numbers."""
    frame_stride: int = 1
    """Use every Nth frame as a training observation (neighbouring frames are nearly identical)."""
    steps: int = 10_000
    """Number of optimizer updates."""
    num_epochs: int | None = None
    """Length of the training in the original's unit: an epoch is one random sample per training episode."""
    batch_size: int = 8
    """Samples (episode, t) per step and process."""
    processes: Annotated[int, Suppress] = 1
    """Processes that train together; `accelerate launch --num_processes N train.py ...` sets it."""
    lr: float = 1e-5
    """Peak learning rate of AdamW."""
    lr_backbone: float = 1e-5
    """Peak learning rate of the visual backbone, where it is trained."""
    unfreeze_at: int | None = None
    """Step from which a frozen backbone is trained, too: first large batches on its cached features, then images."""
    unfrozen_batch_size: int = 8
    """Samples, and random scenes, per step from then on."""
    weight_decay: float = 1e-4
    """AdamW weight decay (not applied to biases and norms)."""
    warmup_steps: int = 0
    """Steps over which the learning rate rises from 0; at most half of all."""
    schedule: Literal["constant", "cosine"] = "constant"
    """Learning rate after the warm-up."""
    ema_decay: float = 0.0
    """Decay per step of the exponential moving average of the weights, which is then deployed (0: no average)."""
    grad_clip: float = 0.0
    """Clip the gradient norm to this value (0 disables)."""
    augmentation: Augmentation = "none"
    """Random change of training images."""
    seed: int = 0
    """Seed of the initial weights, the batches and all noise."""
    val_fraction: float = 0.2
    """Fraction of episodes held out for validation (0: train on all)."""
    precision: Literal["auto", "fp32", "bf16"] = "auto"
    """Arithmetic of the training step; auto: bf16 where the device multiplies it fast."""
    device: str = "auto"
    """Device: auto (a GPU if there is one), cpu, cuda, cuda:1."""
    cache: Cache = "auto"
    """Where uint8 images are kept; auto: GPU or RAM if they fit, otherwise they are decoded per sample."""
    compile: bool = False
    """Compile the loss with torch.compile."""
    log_every: int = 50
    """Steps between lines of metrics.jsonl."""
    validate_every: int = 500
    """Steps between validations on the held-out episodes."""
    save_every: int = 500
    """Steps between resumable checkpoints (RUN/last) and deployable ones (RUN/policy.safetensors)."""
    eval_every: int = 0
    """Steps between rollouts on validation seeds, which then choose the weights that are kept (0: keep the last)."""
    eval_rollouts: int = 20
    """Number of these rollouts."""

    def __post_init__(self) -> None:
        if isinstance(self.dataset_dir, Path):
            object.__setattr__(self, "dataset_dir", (self.dataset_dir,))
        for name in AT_LEAST_ONE:
            if getattr(self, name) < 1:
                raise ValueError(f"{name} {getattr(self, name)} must be at least 1")
        for name in NOT_NEGATIVE:
            if not 0 <= getattr(self, name) < math.inf:
                raise ValueError(f"{name} {getattr(self, name)} must be a number that is not negative")
        if min(self.image_size) < 1:
            raise ValueError(f"image_size {tuple(self.image_size)}: give height and width [pixels], e.g. 480 640")
        if len(set(self.cameras)) < len(self.cameras):
            raise ValueError(f"cameras {' '.join(self.cameras)}: name each once")
        if self.num_epochs is not None and self.num_epochs < 1:
            raise ValueError(f"num_epochs {self.num_epochs} must be at least 1")
        if not 0 <= self.ema_decay < 1 or not 0 <= self.val_fraction < 1:
            raise ValueError(f"ema_decay {self.ema_decay} and val_fraction {self.val_fraction} must be in [0, 1)")
        if self.scenes and not self.policy.learns_from_scenes:
            raise ValueError(
                f"scenes {self.scenes}: only ACT with images and without object poses learns from random scenes; "
                "leave it out, or give --policy_class ACT --use_images --no_use_env_state"
            )
        if self.processes > 1 and (self.scenes or self.unfreeze_at is not None):
            raise ValueError("scenes and unfreeze_at need a single process; start train.py without accelerate launch")
        if self.unfreeze_at is not None and not 0 < self.unfreeze_at < self.steps and self.num_epochs is None:
            raise ValueError(f"unfreeze_at {self.unfreeze_at} must be at least 1 and below steps {self.steps}")
        if self.augmentation != "none" and not self.trains_backbone:
            raise ValueError(
                f"augmentation {self.augmentation} changes images, which only a backbone that is trained would see; "
                "leave it out, or give --no_freeze_backbone"
            )

    @property
    def has_default_scenes(self) -> bool:
        """Whether `with_paths` chooses a file of random scenes where none is given."""
        return self.preset == "aloha" and self.policy.learns_from_scenes

    @property
    def trains_backbone(self) -> bool:
        """Whether the backbone is trained, in all steps or from `unfreeze_at` on."""
        return self.policy.trains_backbone or (self.policy.uses_images and self.unfreeze_at is not None)

    @property
    def without_effect(self) -> dict[str, str]:
        """Fields of the training that mean nothing beside the others, and when they would."""
        unused = {} if self.eval_every else {"eval_rollouts": "with --eval_every"}
        scenes = self.scenes or self.has_default_scenes
        unused |= {} if scenes else dict.fromkeys(("scene_weight", "scene_batch_size"), "with --scenes FILE")
        unused |= {} if self.num_epochs is None else {"steps": "without --num_epochs"}
        if not self.policy.uses_images:
            unused |= dict.fromkeys(("cameras", "image_size", "cache", "jpeg_colors"), "with --use_images")
        if not self.trains_backbone:
            unused["lr_backbone"] = "for a backbone that is trained, with --use_images and --no_freeze_backbone"
        if self.policy.trains_backbone or not self.policy.uses_images:
            unused["unfreeze_at"] = "with --use_images and --freeze_backbone"
        if self.unfreeze_at is None:
            unused["unfrozen_batch_size"] = "with --unfreeze_at STEP"
        if not self.policy.learns_by_gradient:
            unused |= dict.fromkeys(OF_GRADIENTS, "for a policy that learns by gradient")
        if not self.val_fraction:
            unused["validate_every"] = "with --val_fraction above 0"
        return unused

    @property
    def env_name(self) -> str:
        """transfer_cube of sim_transfer_cube_scripted: the task without style."""
        return task_of(self.task_name)

    @property
    def demo_style(self) -> str:
        """scripted or human, as the task's name says; empty for other names."""
        return next((style for style in ("scripted", "human") if self.task_name.endswith(f"_{style}")), "")

    def resolved(self, n_train_episodes: int) -> "TrainConfig":
        """With num_epochs converted to steps: an epoch is one sample of each training episode.

        A policy that does not learn by gradient takes one step, which changes nothing.
        """
        if not self.policy.learns_by_gradient:
            return dataclasses.replace(self, steps=1, num_epochs=None)
        if self.num_epochs is None:
            return self
        steps = self.num_epochs * -(-n_train_episodes // (self.batch_size * self.processes))
        return dataclasses.replace(self, steps=steps, num_epochs=None)

    def with_paths(self) -> "TrainConfig":
        """With the default folders where none were given."""
        run = f"{self.task_name}_{self.policy_class.lower()}_{self.preset}_seed{self.seed}"
        directories = self.dataset_dir or (Path("data") / self.task_name,)
        default_scenes = self.has_default_scenes and self.scene_weight > 0
        return dataclasses.replace(
            self,
            dataset_dir=directories,
            scenes=self.scenes or (directories[0] / "scenes.hdf5" if default_scenes else None),
            run_dir=self.run_dir or Path("runs") / run,
            policy=self.policy.with_paths(self.env_name),
        )

    def to_json(self) -> dict[str, Any]:
        values = dataclasses.asdict(self)
        directories = [str(directory) for directory in self.dataset_dir]
        values["dataset_dir"] = directories[0] if len(directories) == 1 else directories
        return {key: str(value) if isinstance(value, Path) else value for key, value in values.items()}

    @classmethod
    def from_json(cls, values: dict[str, Any]) -> "TrainConfig":
        config = policies.load(values["policy_class"]).Config.from_json(values["policy"])
        paths = {key: Path(values[key]) for key in ("run_dir", "warm_start", "scenes") if values.get(key) is not None}
        listed = values["dataset_dir"] or ()
        directories = tuple(map(Path, (listed,) if isinstance(listed, str) else listed))
        fields: dict[str, Any] = tuples(values) | paths | {"policy": config, "dataset_dir": directories}
        return cls(**fields)


# A preset's fields of the training; its fields of the policy are in Config.preset of the policy's file.
_FAST: dict[str, Any] = {
    "cameras": ("cam_high", "cam_low", "cam_left_wrist", "cam_right_wrist"),
    "image_size": (240, 320),
    "frame_stride": 2,
    "steps": 3000,
    "batch_size": 64,
    "lr": 5e-4,
    "lr_backbone": 1e-4,
    "warmup_steps": 200,
    "schedule": "cosine",
    "ema_decay": 0.999,
    "grad_clip": 1.0,
    "val_fraction": 0.1,
}
_TRAINING: dict[str, dict[str, Any]] = {
    "paper": {},
    "aloha": {**_FAST, "frame_stride": 4, "batch_size": 32, "lr": 1e-3, "lr_backbone": 3e-5},
    "fast": _FAST,
    "state": {**_FAST, "cameras": (), "frame_stride": 1},
}


def preset(name: str, policy_class: str = "ACT", task_name: str = "sim_transfer_cube_scripted") -> TrainConfig:
    """The configuration `name` of a policy. Raises ValueError listing presets or policies for an unknown one."""
    if name not in _TRAINING:
        raise ValueError(f"unknown preset {name!r}; available: {', '.join(_TRAINING)}")
    config = policies.load(policy_class).Config
    training = _TRAINING[name] | config.training(name)
    values: dict[str, Any] = {"preset": name, "policy_class": policy_class.upper(), **training}
    return TrainConfig(task_name=task_name, policy=config.preset(name), **values)


def parse(argv: Sequence[str]) -> TrainConfig:
    """The configuration of a command line: defaults of --preset and --policy_class, then every other flag.

    Raises ValueError for the original's evaluation flags and for flags without effect beside the others; ends the
    program with code 2 and a sentence for a wrong flag.
    """
    for flag in EVALUATION_FLAGS:
        if flag in argv:
            raise ValueError(
                f"{flag} belongs to evaluation: python eval.py --ckpt_dir RUN {flag.replace('--eval', '')}".strip()
            )
    chosen = preset(_peek(argv, "--preset", "paper"), _peek(argv, "--policy_class", "ACT"), "")
    config = command_line.parse(
        TrainConfig,
        argv,
        program="train.py",
        description="Train a policy on recorded demonstrations. Interrupted, the same command resumes.",
        example="python train.py --preset fast --task_name sim_transfer_cube_scripted",
        page="README.md",
        default=chosen,
    )
    command_line.refuse_without_effect(config.policy, chosen.policy, config.policy.without_effect)
    command_line.refuse_without_effect(config, chosen, config.without_effect)
    if not config.task_name:
        raise ValueError("--task_name is missing; it names what was recorded, e.g. sim_transfer_cube_scripted")
    return config


def _peek(argv: Sequence[str], flag: str, default: str) -> str:
    """The value of `--flag value` or `--flag=value`, before the rest is parsed."""
    for i, word in enumerate(argv):
        name, given, value = word.partition("=")
        if name.startswith("--") and name[2:].replace("-", "_") == flag[2:]:
            return value if given else "".join(argv[i + 1 : i + 2])
    return default
