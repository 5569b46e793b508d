"""Makes the JPEG files of this folder and vectors.txt: what Pillow decodes and resizes them to.

Run by hand (python3 make_vectors.py, with NumPy and Pillow 13) when a case is added; tests only read the results. Pillow
13 blends columns before rows for pictures that lose much more height than width, which changes single bytes by one; for
square ones all versions agree.
Each line of vectors.txt: file, width, height, FNV-1a of the RGB bytes. `small.rgb` holds all bytes of the cases of
16 x 9 pixels, one after the other.
"""

from pathlib import Path

import numpy as np
import PIL
from PIL import Image

HERE = Path(__file__).parent
SIZES = [(224, 224), (32, 32), (16, 9), (300, 41), (7, 150)]


def picture(width, height, seed):
    """Smooth colours, edges and grain, so that every part of decoder and filter matters."""
    random = np.random.default_rng(seed)
    y, x = np.mgrid[0:height, 0:width].astype(np.float64)
    waves = [128 + 110 * np.sin(x / (3.0 + c) + seed) * np.cos(y / (4.0 + 2 * c)) for c in range(3)]
    image = np.stack(waves, axis=2)
    image[(x + 2 * y).astype(int) % 23 < 5] = random.integers(0, 256, 3)
    image += random.normal(0, 8, image.shape)
    return Image.fromarray(image.clip(0, 255).astype(np.uint8))


def fnv1a(data):
    value = 0xCBF29CE484222325
    for byte in data:
        value = ((value ^ byte) * 0x100000001B3) % 2**64
    return value


def save(name, image, **options):
    image.save(HERE / name, "JPEG", **options)


def main():
    if int(PIL.__version__.split(".")[0]) < 13:
        raise SystemExit(f"Pillow 13 is the reference, this is {PIL.__version__}")
    exif = Image.Exif()
    exif[0x0112] = 6  # rotated: both sides ignore it
    save("rgb_420.jpg", picture(97, 61, 1), quality=90, subsampling="4:2:0")
    save("rgb_422.jpg", picture(50, 33, 2), quality=85, subsampling="4:2:2")
    save("rgb_444.jpg", picture(64, 80, 3), quality=95, subsampling="4:4:4")
    save("progressive.jpg", picture(83, 59, 4), quality=80, progressive=True)
    save("progressive_tall.jpg", picture(150, 700, 14), quality=10, progressive=True)
    save("grey.jpg", picture(45, 70, 5).convert("L"), quality=88)
    save("grey_progressive.jpg", picture(31, 17, 6).convert("L"), quality=88, progressive=True)
    save("rotated_by_exif.jpg", picture(40, 24, 7), quality=75, exif=exif)
    save("restarts.jpg", picture(120, 90, 8), quality=60, restart_marker_rows=1)
    save("keep_rgb.jpg", picture(33, 47, 9), quality=90, keep_rgb=True)
    save("large.jpg", picture(517, 389, 10), quality=40)
    save("one_pixel.jpg", picture(1, 1, 11), quality=90)
    save("one_row.jpg", picture(200, 1, 12), quality=90)
    names = sorted(path.name for path in HERE.glob("*.jpg") if path.name != "cmyk.jpg")
    save("cmyk.jpg", picture(16, 16, 13).convert("CMYK"), quality=90)

    lines, small = [], b""
    for name in names:
        image = Image.open(HERE / name).convert("RGB")
        for size in [image.size, *SIZES]:
            data = image.resize(size, Image.Resampling.BILINEAR).tobytes()
            lines.append(f"{name} {size[0]} {size[1]} {fnv1a(data):016x}\n")
            if size == (16, 9):
                small += data
    (HERE / "vectors.txt").write_text("".join(lines))
    (HERE / "small.rgb").write_bytes(small)


main()
