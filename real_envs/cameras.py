"""Cameras through OpenCV: a thread each takes every image, with the time at which it came."""

import threading
import time
from collections.abc import Callable
from typing import Any, NamedTuple

import cv2
import numpy as np

from real_envs.bus import HardwareError

STALE = 0.5  # [s] age of an image beyond which the camera counts as lost
FIRST_IMAGE = 5.0  # [s] that a camera may take to start
RATE = 60  # [1/s] images that are asked for; more than 50, so that every control step has a new one


class Image(NamedTuple):
    """An image and when it came."""

    pixels: np.ndarray  # (H, W, 3) uint8 RGB; nobody writes into it again
    time: float  # [s] of time.monotonic()


class Camera:
    """A camera and the thread that reads it. `start` comes first.

    Args:
        name: of its images, "cam_high".
        device: what OpenCV opens: 0, or a path such as /dev/CAM_HIGH.
        image_size: (H, W) of its images [pixels].
        open_device: opens the device; tests bring their own.

    Example:
        camera = Camera("cam_high", "/dev/CAM_HIGH").start()
        pixels, when = camera.latest()
    """

    def __init__(
        self,
        name: str,
        device: int | str,
        image_size: tuple[int, int] = (480, 640),
        open_device: Callable[..., Any] = cv2.VideoCapture,
    ):
        self.name, self.device, self.image_size = name, device, image_size
        self._open, self._image = open_device, None
        self._first, self._stop = threading.Event(), threading.Event()
        self._thread: threading.Thread | None = None

    def start(self) -> "Camera":
        """Opens the camera and returns when its first image is there; HardwareError if none comes."""
        self._capture = self._open(self.device)
        if not self._capture.isOpened():
            raise HardwareError(
                f"camera {self.name} ({self.device}) cannot be opened; is it plugged in and not in use?"
            )
        height, width = self.image_size
        for setting, value in (
            (cv2.CAP_PROP_FOURCC, cv2.VideoWriter.fourcc(*"MJPG")),  # raw images of four cameras are too much for USB
            (cv2.CAP_PROP_FRAME_WIDTH, width),
            (cv2.CAP_PROP_FRAME_HEIGHT, height),
            (cv2.CAP_PROP_FPS, RATE),
            (cv2.CAP_PROP_BUFFERSIZE, 1),
        ):
            self._capture.set(setting, value)
        self._thread = threading.Thread(target=self._run, name=f"camera {self.name}", daemon=True)
        self._thread.start()
        if not self._first.wait(FIRST_IMAGE):
            self.close()
            raise HardwareError(f"camera {self.name} ({self.device}) sent no image within {FIRST_IMAGE:g} s")
        return self

    def latest(self) -> Image:
        """The newest image; HardwareError if it is older than `STALE`."""
        image = self._image
        if image is None:
            raise HardwareError(f"camera {self.name} ({self.device}) is not started; call start() first")
        if (age := time.monotonic() - image.time) > STALE:
            raise HardwareError(
                f"camera {self.name} ({self.device}) has sent no image for {age:.1f} s; check its cable"
            )
        return image

    def close(self) -> None:
        """Stops the thread and closes the device."""
        self._stop.set()
        if self._thread is not None:
            self._thread.join(timeout=1.0)
            self._thread = None
            self._capture.release()

    def _run(self) -> None:
        height, width = self.image_size
        while not self._stop.is_set():
            arrived, pixels = self._capture.read()  # waits for the next image
            if not arrived:
                self._stop.wait(0.01)
                continue
            if pixels.shape[:2] != (height, width):  # not every camera has every size
                pixels = cv2.resize(pixels, (width, height), interpolation=cv2.INTER_AREA)
            self._image = Image(cv2.cvtColor(pixels, cv2.COLOR_BGR2RGB), time.monotonic())
            self._first.set()
