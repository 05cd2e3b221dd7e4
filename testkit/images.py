"""One picture in every format that is read, and what each is known to look like."""

import io
import struct
from functools import cache

import numpy as np
from PIL import Image

SIZE = 24, 16  # width and height of the picture
TURNED_RIGHT = 6  # Exif's number of a picture that is to be turned a quarter to the right
LOSSLESS = 1.0  # mean difference of pixels that may be
LOSSY = 16.0


def picture() -> Image.Image:
    """Smooth, and different in each corner, so that no format changes much and no turn is overlooked."""
    x, y = np.meshgrid(np.linspace(0, 1, SIZE[0]), np.linspace(0, 1, SIZE[1]))
    pixels = np.dstack([40 + 180 * x, 30 + 200 * y, 20 + 150 * x * y])
    return Image.fromarray(pixels.astype(np.uint8))


def gray() -> np.ndarray:
    return np.asarray(picture().convert("L"))


def exif(orientation: int) -> bytes:
    return b"Exif\0\0MM\0*\0\0\0\x08\0\1" + struct.pack(">HHIHHI", 274, 3, 1, orientation, 0, 0)


def saved(image: Image.Image, name: str, **options) -> bytes:
    file = io.BytesIO()
    image.save(file, name, **options)
    return file.getvalue()


@cache
def variants() -> dict[str, bytes]:
    """The picture by a name that begins with its format and ends with what is special about it."""
    image, other = picture(), picture().transpose(Image.Transpose.ROTATE_180)
    twelve_bits = Image.fromarray(gray().astype(np.uint16) * 16)
    floats = Image.fromarray(gray().astype(np.float32) / 255)
    several = {"save_all": True, "append_images": [other]}
    turned = {"exif": exif(TURNED_RIGHT)}
    return {
        "JPEG": saved(image, "JPEG", quality=95),
        "JPEG progressive": saved(image, "JPEG", quality=95, progressive=True),
        "JPEG gray": saved(image.convert("L"), "JPEG", quality=95),
        "JPEG CMYK": saved(image.convert("CMYK"), "JPEG", quality=95),
        "JPEG turned": saved(image, "JPEG", quality=95, **turned),
        "PNG": saved(image, "PNG"),
        "PNG 16 bit": saved(twelve_bits, "PNG"),
        "PNG turned": saved(image, "PNG", **turned),
        "PNG frames": saved(image, "PNG", **several),
        "WEBP": saved(image, "WEBP", quality=95),
        "WEBP lossless": saved(image, "WEBP", lossless=True),
        "WEBP turned": saved(image, "WEBP", lossless=True, **turned),
        "WEBP frames": saved(image, "WEBP", lossless=True, **several),
        "BMP": saved(image, "BMP"),
        "BMP palette": saved(image.quantize(200), "BMP"),
        "GIF": saved(image.quantize(200), "GIF"),
        "GIF frames": saved(image, "GIF", **several),
        "TIFF": saved(image, "TIFF"),
        "TIFF LZW": saved(image, "TIFF", compression="tiff_lzw"),
        "TIFF deflate": saved(image, "TIFF", compression="tiff_adobe_deflate"),
        "TIFF JPEG": saved(image, "TIFF", compression="jpeg"),
        "TIFF packed": saved(image, "TIFF", compression="packbits"),
        "TIFF big": saved(image, "TIFF", big_tiff=True),
        "TIFF 16 bit": saved(twelve_bits, "TIFF"),
        "TIFF 16 bit LZW": saved(twelve_bits, "TIFF", compression="tiff_lzw"),
        "TIFF float": saved(floats, "TIFF"),
        "TIFF turned": saved(image, "TIFF", **turned),
        "TIFF frames": saved(image, "TIFF", **several),
        "AVIF": saved(image, "AVIF", quality=95),
        "AVIF frames": saved(image, "AVIF", quality=95, **several),
    }


def expected(name: str) -> Image.Image:
    """What variant `name` shows, more or less."""
    image = picture()
    if name.endswith(("gray", "16 bit", "16 bit LZW", "float")):
        image = image.convert("L").convert("RGB")
    if "bit" in name or "float" in name:  # from black to white
        low, high = int(gray().min()), int(gray().max())
        image = image.point(lambda value: round((value - low) * 255 / (high - low)))
    return image.transpose(Image.Transpose.ROTATE_270) if name.endswith("turned") else image
