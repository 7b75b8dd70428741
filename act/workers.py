"""Worker processes: how many cores there are, keeping one process to one core, ending with the parent."""

import multiprocessing
import os
import threading


def available_cores() -> int:
    """Processor cores this process may run on."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def end_with_parent() -> None:
    """Ends this worker when its parent is killed: a pool's, which waits for work from itself, would stay for ever."""
    parent = multiprocessing.parent_process()
    assert parent is not None, "only workers have a parent"
    threading.Thread(target=lambda: (parent.join(), os._exit(1)), daemon=True).start()


def use_one_core() -> None:
    """Keeps this process, one of many, to one core."""
    import cv2  # here: counting cores needs no OpenCV

    cv2.setNumThreads(1)
    os.environ.setdefault("LP_NUM_THREADS", "1")  # Mesa's software renderer
