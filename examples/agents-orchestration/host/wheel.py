"""Packs each folder NAME-VERSION below the first argument as a wheel into the second.

Hosts of this example have no network, so what they depend on is made on them.
"""

import base64
import hashlib
import pathlib
import sys
import zipfile


def record(name, data):
    digest = base64.urlsafe_b64encode(hashlib.sha256(data).digest()).rstrip(b"=").decode()
    return f"{name},sha256={digest},{len(data)}\n"


def pack(folder, into):
    name, version = folder.name.rsplit("-", 1)
    info = f"{name}-{version}.dist-info"
    needs = folder / "requires.txt"
    requires = "".join(f"Requires-Dist: {line}\n" for line in needs.read_text().splitlines()) if needs.exists() else ""
    files = {file.name: file.read_bytes() for file in sorted(folder.glob("*.py"))}
    files[f"{info}/METADATA"] = f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n{requires}".encode()
    files[f"{info}/WHEEL"] = b"Wheel-Version: 1.0\nGenerator: wheel.py\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
    with zipfile.ZipFile(into / f"{name}-{version}-py3-none-any.whl", "w") as wheel:
        for path, data in files.items():
            wheel.writestr(path, data)
        wheel.writestr(f"{info}/RECORD", "".join(record(*file) for file in files.items()) + f"{info}/RECORD,,\n")


for source in sorted(pathlib.Path(sys.argv[1]).iterdir()):
    pack(source, pathlib.Path(sys.argv[2]))
