"""Say in one line what this system lacks before anything is installed: Python, its venv, shared libraries of OpenCV.

Run by the Makefile with the system's own Python, so it must run on any version.
"""

import ctypes
import sys

LIBRARIES = {
    "libGL.so.1": "libgl1",
    "libglib-2.0.so.0": "libglib2.0-0",
    "libgthread-2.0.so.0": "libglib2.0-0",
    "libxcb.so.1": "libxcb1",
    "libstdc++.so.6": "libstdc++6",
    "libz.so.1": "zlib1g",
}


def main():  # type: () -> int
    if not (3, 11) <= sys.version_info[:2] <= (3, 14):
        version = ".".join(str(part) for part in sys.version_info[:2])
        print("stereolive needs Python 3.11 to 3.14; " + sys.executable + " is " + version + ".")
        print("Name another one: make PYTHON=python3.12 ...")
        return 1
    missing = set()
    try:
        import ensurepip  # noqa: F401
        import venv  # noqa: F401
    except ImportError:
        missing.add("python3-venv")
    if sys.platform.startswith("linux"):
        for library, package in LIBRARIES.items():
            try:
                ctypes.CDLL(library)
            except OSError:
                missing.add(package)
    if missing:
        print("This system lacks what stereolive needs. On Debian or Ubuntu, as root:")
        print("    apt-get install --no-install-recommends " + " ".join(sorted(missing)))
    return 1 if missing else 0


if __name__ == "__main__":
    sys.exit(main())
