"""The mutants: each is the project without one of its guards, and names the proofs that must notice.

`old` stands once in `file`, and `new` in its place takes that one guard away, or swaps one order.
Whoever changes a guard changes its mutant, too: tests/test_prove.py sees that each still fits.
"""

from typing import NamedTuple


class Mutant(NamedTuple):
    guard: str
    file: str
    old: str
    new: str
    proofs: tuple[str, ...]  # which turn red with --few


def _mutant(guard: str, file: str, old: str, new: str, proofs: str) -> Mutant:
    return Mutant(guard, file, old.strip("\n"), new.strip("\n"), tuple(proofs.split()))


WHAT_IS_DROPPED_IN = (
    _mutant(
        "a raw dataset is read once it has settled",
        "pipeline/raw_data/ingestion.py",
        "stable = time.monotonic() >= state.settles_at(self.options.settle)",
        "stable = True",
        "half_copies",
    ),
    _mutant(
        "a raw dataset is looked at again while it is published",
        "pipeline/raw_data/ingestion.py",
        "            if scan_again(folder).folders != look.folders:\n",
        "            if False:\n",
        "changes",
    ),
    _mutant(
        "the second look is heeded before the dataset gets its name",
        "pipeline/artifacts/safe_pickle.py",
        "        checking.result()\n",
        "",
        "changes",
    ),
    _mutant(
        "an image without a row is missed",
        "pipeline/raw_data/groundtruth.py",
        "if unlisted := sorted(plain - {row.file for row in rows}):",
        "if unlisted := []:",
        "half_copies any_csv",
    ),
    _mutant(
        "a file's time of change is a part of its state",
        "pipeline/data_folder.py",
        "status.st_mtime_ns, status.st_ctime_ns,",
        "status.st_mtime_ns, 0,",
        "changes",
    ),
    _mutant(
        "a changed state is a new raw dataset",
        "pipeline/raw_data/ingestion.py",
        "if fingerprint != state.fingerprint:",
        "if not state.fingerprint:",
        "changes half_copies",
    ),
    _mutant(
        "a content that is there is not written again",
        "pipeline/raw_data/dataset_writer.py",
        "name = self.published.name_of(raw.digest)",
        "name = None",
        "once_each",
    ),
    _mutant(
        "a name comes after all that are taken",
        "pipeline/artifacts/dataset.py",
        "now = max(now, used + timedelta(microseconds=1))",
        "pass",
        "clock_jumps",
    ),
    _mutant(
        "the stage looks now and then without any event",
        "pipeline/stage/folder_watch.py",
        "until = time.monotonic() + (longest if seconds is None else min(seconds, longest))",
        "until = time.monotonic() + (1e9 if seconds is None else min(seconds, longest))",
        "no_events lost_events",
    ),
    _mutant(
        "where the kernel allows no watch, the stage looks all the same",
        "pipeline/stage/folder_watch.py",
        "        except OSError as error:\n            where = Path(",
        "        except FileNotFoundError as error:\n            where = Path(",
        "lost_events",
    ),
    _mutant(
        "the watch is mended while the stage waits",
        "pipeline/stage/folder_watch.py",
        "            mended = self._mend()\n",
        "            mended = False\n",
        "vanishing",
    ),
    _mutant(
        "a folder that is gone is made again",
        "pipeline/stage/folder_watch.py",
        "                folder.mkdir(parents=True, exist_ok=True)\n",
        "                pass\n",
        "vanishing",
    ),
    _mutant(
        "that the watched folder is gone is no fault",
        "pipeline/raw_data/ingestion.py",
        "        except OSError:\n            return constants.POLL",
        "        except ZeroDivisionError:\n            return constants.POLL",
        "vanishing",
    ),
    _mutant(
        "damaged images are said, not ingested",
        "pipeline/raw_data/raw_dataset.py",
        "    if problems:\n        raise RawDatasetError(problems)\n    return left_out\n",
        "    return left_out\n",
        "half_copies bad_among_good",
    ),
    _mutant(
        "a bad raw dataset is left alone once it has settled",
        "pipeline/raw_data/ingestion.py",
        "            state.settled = stable\n",
        "",
        "bad_among_good",
    ),
    _mutant(
        "raw data is only read",
        "pipeline/raw_data/folder_scan.py",
        "        scanned = self.folders[path] = ScannedFolder()\n",
        "        scanned = self.folders[path] = ScannedFolder()\n"
        "        os.utime(self.root / path)\n",
        "raw_data",
    ),
)
WHAT_GOES_WRONG = (
    _mutant(
        "a fault of ours is said, and the others go on",
        "pipeline/raw_data/ingestion.py",
        "except Exception as error:  # a fault of ours",
        "except ZeroDivisionError as error:  # a fault of ours",
        "crashes",
    ),
    _mutant(
        "a run whose process died has failed, and the next one starts",
        "pipeline/training/local_workers.py",
        '        take(self, {"event": "failed", "reason": self._reason_of_death()})\n',
        "",
        "crashes",
    ),
    _mutant(
        "each checkpoint is tested in a process of its own",
        "pipeline/analysis/evaluation.py",
        "return self._worker is not None and self._worker.sha256 == sha256",
        "return self._worker is not None",
        "bad_checkpoints",
    ),
    _mutant(
        "where the process of a checkpoint ends, it is said how",
        "pipeline/analysis/evaluation.py",
        """
                with suppress(EOFError, OSError):
                    if self._connection.poll():""",
        """
                with suppress(ZeroDivisionError):
                    if self._connection.poll():""",
        "bad_checkpoints",
    ),
    _mutant(
        "a file appears whole or not at all",
        "helper.py",
        'partial = path.with_name(f".{path.name}.partial")',
        "partial = path",
        "kill power_loss",
    ),
    _mutant(
        "a dataset is written first, recorded second",
        "pipeline/raw_data/ingestion.py",
        """
        self.writer.publish(path, state.layout, raw, began, check)
        self.writer.note(path, state.fingerprint, content=raw.digest)
""",
        """
        self.writer.note(path, state.fingerprint, content=raw.digest)
        self.writer.publish(path, state.layout, raw, began, check)
""",
        "kill",
    ),
    _mutant(
        "a report is written first, recorded second",
        "pipeline/analysis/checkpoint_analysis.py",
        """
        self.stage.retry(lambda: self._write(results))
        figures = (results.report[name] for name in FIGURES)
        self._enter(task.sha256, **_entry_of(task.run, *figures))
""",
        """
        figures = (results.report[name] for name in FIGURES)
        self._enter(task.sha256, **_entry_of(task.run, *figures))
        self.stage.retry(lambda: self._write(results))
""",
        "kill",
    ),
    _mutant(
        "a pickle gets its name after its description",
        "pipeline/artifacts/safe_pickle.py",
        """
        write_json(description_path(path), {**description, "sha256": hashing.hexdigest()})
        # After the description: what died here is begun again under the name that it gives.
        for companion, its_content in beside.items():
            with whole_file(companion) as companion_file:
                companion_file.write(its_content)
""",
        """
        sha256 = hashing.hexdigest()
        for companion, its_content in beside.items():
            with whole_file(companion) as companion_file:
                companion_file.write(its_content)
    write_json(description_path(path), {**description, "sha256": sha256})
""",
        "kill power_loss",
    ),
    _mutant(
        "a dataset that was begun keeps its name",
        "pipeline/raw_data/published.py",
        "name = self._begun.get(content)",
        "name = None",
        "kill power_loss",
    ),
    _mutant(
        "a checkpoint that is there is not trained again",
        "pipeline/training/scheduler.py",
        "run.key not in busy and not self.record.adopt(run) and not self.requests.cancel(run)",
        "run.key not in busy and not self.requests.cancel(run)",
        "kill",
    ),
    _mutant(
        "curves are cut back to the last whole epoch",
        "pipeline/training/tensorboard_logs.py",
        "if path.stat().st_size > length:",
        "if False:",
        "kill",
    ),
    _mutant(
        "a training goes on from what it kept",
        "pipeline/training/worker.py",
        "        fit.restore(state)\n",
        "        return False\n",
        "killed_training",
    ),
    _mutant(
        "the optimizer goes on from where it was",
        "pipeline/training/fitting.py",
        '        _assign(self.network.optimizer.variables, state["optimizer"])\n',
        "",
        "killed_training",
    ),
    _mutant(
        "what an epoch draws by chance depends on the seed and its number alone",
        "pipeline/fitting/batches.py",
        "draw = np.random.default_rng([self.settings.seed, epoch])",
        "draw = np.random.default_rng()",
        "killed_training",
    ),
    _mutant(
        "a disk that refuses is tried again",
        "pipeline/stage/retry.py",
        "            if not is_disk_trouble(error):\n                raise\n            if error.errno",
        "            if True:\n                raise\n            if error.errno",
        "failing_calls disk_full",
    ),
    _mutant(
        "an image that cannot be read for now is no damaged one",
        "pipeline/images/image_reader.py",
        "            if error.errno in TRANSIENT_ERRNOS:\n                raise\n",
        "",
        "failing_calls",
    ),
    _mutant(
        "what a full disk cut off is removed",
        "helper.py",
        "        partial.unlink(missing_ok=True)\n        if isinstance",
        "        if isinstance",
        "disk_full",
    ),
    _mutant(
        "a file is flushed before it gets its name",
        "helper.py",
        "os.fsync(file.fileno())  # without it",
        "pass  # without it",
        "power_loss",
    ),
    _mutant(
        "a name is flushed before the next thing is done",
        "helper.py",
        "            flush_folder(path.parent)\n",
        "            pass\n",
        "power_loss",
    ),
    _mutant(
        "a pickle is what its description says",
        "pipeline/artifacts/safe_pickle.py",
        'if expected and hashlib.file_digest(file, "sha256").hexdigest() != expected:',
        "if False:",
        "damage",
    ),
    _mutant(
        "a record is what its digest says",
        "pipeline/artifacts/ledger.py",
        "    if not unchanged:\n",
        "    if False:\n",
        "damage",
    ),
    _mutant(
        "the state of a training is what its digest says",
        "pipeline/training/training_state.py",
        "if digest != _digest(content):",
        "if False:",
        "damage",
    ),
    _mutant(
        "a lost record is rebuilt from the results",
        "pipeline/artifacts/ledger.py",
        "        self._know(rebuild())\n",
        "        self._know({})\n",
        "damaged_records",
    ),
    _mutant(
        "a damaged record is kept",
        "pipeline/artifacts/ledger.py",
        "            self.path.replace(aside)\n",
        "",
        "damaged_records",
    ),
)
WHAT_IS_LET_IN = (
    _mutant(
        "a row has as many cells as the others",
        "pipeline/tables/rows.py",
        "if len(cells) != columns.width:",
        "if len(cells) < columns.width:",
        "any_csv",
    ),
    _mutant(
        "no image is listed twice",
        "pipeline/raw_data/groundtruth.py",
        "if (earlier := first_seen.setdefault(row.file, number)) != number:",
        "if (earlier := number) != number:",
        "any_csv",
    ),
    _mutant(
        "a row has a label",
        "pipeline/tables/rows.py",
        "        if not label:\n",
        "        if False:\n",
        "any_csv",
    ),
    _mutant(
        "a path names the row's own split",
        "pipeline/tables/rows.py",
        "elif strict and self.index.is_elsewhere(cell):",
        "elif False:",
        "any_csv",
    ),
    _mutant(
        "a link is followed only where it ends inside",
        "pipeline/raw_data/folder_scan.py",
        "if stat.S_ISREG(status.st_mode) and target.startswith(self.allowed):",
        "if stat.S_ISREG(status.st_mode):",
        "outside",
    ),
    _mutant(
        "a table's separator is found in it",
        "pipeline/tables/reader.py",
        'SEPARATORS = ",;\\t|"',
        'SEPARATORS = ",\\t|"',
        "any_csv",
    ),
    _mutant(
        "a table's encoding is told by its mark",
        "pipeline/tables/reader.py",
        '    (codecs.BOM_UTF16_LE, "utf-16"),\n',
        "",
        "any_csv",
    ),
    _mutant(
        "only files that are there come out of a table",
        "pipeline/tables/file_index.py",
        "if joined in self.paths and is_image(joined):",
        "if is_image(joined):",
        "fuzz",
    ),
    _mutant(
        "no link is followed to an image",
        "pipeline/images/image_reader.py",
        "os.O_RDONLY | os.O_NOFOLLOW)",
        "os.O_RDONLY)",
        "outside",
    ),
    _mutant(
        "no pipe is waited for",
        "helper.py",
        "flags |= os.O_NONBLOCK | os.O_NOCTTY |",
        "flags |= os.O_NOCTTY |",
        "outside only_files",
    ),
    _mutant(
        "what is no file is said to be none",
        "helper.py",
        "        if link or error.errno in (errno.EISDIR, errno.ENXIO):\n",
        "        if False:\n",
        "only_files",
    ),
    _mutant(
        "no member leads upwards",
        "pipeline/raw_data/archives.py",
        '    elif ".." in parts:\n',
        "    elif False:\n",
        "archives",
    ),
    _mutant(
        "no member has an absolute name",
        "pipeline/raw_data/archives.py",
        '    elif name.startswith("/") or DRIVE.match(name):\n',
        "    elif False:\n",
        "archives",
    ),
    _mutant(
        "no member has a backslash in its name",
        "pipeline/raw_data/archives.py",
        '    elif "\\\\" in name:\n',
        "    elif False:\n",
        "archives",
    ),
    _mutant(
        "no member has a control character in its name",
        "pipeline/raw_data/archives.py",
        "    if CONTROL.search(name):\n",
        "    if False:\n",
        "archives",
    ),
    _mutant(
        "a member is a file or a folder",
        "pipeline/raw_data/archives.py",
        "        if member.what not in (FILE, FOLDER):\n",
        "        if False:\n",
        "archives",
    ),
    _mutant(
        "no member differs from another in case or Unicode form alone",
        "pipeline/raw_data/archives.py",
        "key = part.lower() if part.isascii() else _folded(part)",
        "key = part",
        "archives",
    ),
    _mutant(
        "no member is in an archive twice",
        "pipeline/raw_data/archives.py",
        "            elif known[1] is None or not is_folder:\n",
        "            elif False:\n",
        "archives",
    ),
    _mutant(
        "an archive gives no more bytes than are allowed",
        "pipeline/raw_data/archives.py",
        "        if size > self.most_bytes:\n",
        "        if False:\n",
        "archives",
    ),
    _mutant(
        "a tar is read to its end before a byte is written",
        "pipeline/raw_data/archives.py",
        "        for _ in _tar_contents(descriptor, names, progress):\n",
        "        names.files = 1\n        for _ in ():\n",
        "archives",
    ),
    _mutant(
        "what was begun of an archive is removed",
        "pipeline/raw_data/archives.py",
        "        shutil.rmtree(partial, ignore_errors=True)\n        raise\n",
        "        raise\n",
        "archives",
    ),
    _mutant(
        "no members of a zip overlap",
        "pipeline/archive_formats/zip_reader.py",
        "        if member.start < end:\n",
        "        if False:\n",
        "archives",
    ),
    _mutant(
        "both headers of a zip's member say the same",
        "pipeline/archive_formats/zip_reader.py",
        "    if (\n        (signature, method, length)",
        "    if False and (\n        (signature, method, length)",
        "archives",
    ),
    _mutant(
        "a zip's directory ends where its end begins",
        "pipeline/archive_formats/zip_reader.py",
        "    if start + size != end:\n",
        "    if False:\n",
        "archives",
    ),
    _mutant(
        "a zip's member has the length that the directory says",
        "pipeline/archive_formats/zip_reader.py",
        "    if given != member.size:\n",
        "    if False:\n",
        "archives",
    ),
    _mutant(
        "a zip's member has the checksum that the directory says",
        "pipeline/archive_formats/zip_reader.py",
        "    if crc != member.crc:\n",
        "    if False:\n",
        "archives",
    ),
    _mutant(
        "a zip's member is not encrypted",
        "pipeline/archive_formats/zip_reader.py",
        "        if flags & ENCRYPTED:\n",
        "        if False:\n",
        "archives",
    ),
    _mutant(
        "the checksum of a tar's header fits",
        "pipeline/archive_formats/tar_reader.py",
        "    if _number(header[148:156]) != checksum:\n",
        "    if False:\n",
        "archives",
    ),
    _mutant(
        "no header of a tar takes more memory than is allowed",
        "pipeline/archive_formats/tar_reader.py",
        "            if size > MOST_HEADER:\n",
        "            if False:\n",
        "archives",
    ),
    _mutant(
        "a compressed tar is decompressed to its end",
        "pipeline/archive_formats/tar_reader.py",
        "    stream.expect_zeros()\n",
        "    pass\n",
        "archives",
    ),
    _mutant(
        "what is compressed ends",
        "pipeline/archive_formats/tar_reader.py",
        '                    raise Damaged("it ends too soon")\n',
        "                    return\n",
        "archives",
    ),
    _mutant(
        "what is no object is read as none",
        "pipeline/json_values.py",
        "return content if isinstance(content, dict) else {}",
        "return content",
        "any_json",
    ),
    _mutant(
        "JSON that is nested too deep is read as none",
        "pipeline/json_values.py",
        "    except (ValueError, RecursionError):\n        return {}\n",
        "    except ValueError:\n        return {}\n",
        "any_json",
    ),
    _mutant(
        "a line of a set has no more dots than are allowed",
        "pipeline/artifacts/hyperparameters.py",
        "if dots > constants.MOST_DOTS:",
        "if False:",
        "large_inputs",
    ),
    _mutant(
        "the checksum of each chunk fits",
        "pipeline/images/png_check.py",
        "if zlib.crc32(view[position + 4 : end]) != CHECKSUM.unpack_from(content, end)[0]:",
        "if False:",
        "true_png",
    ),
    _mutant(
        "nothing follows the end of a PNG",
        "pipeline/images/png_check.py",
        "if position != len(content) or chunks[-1][1].nbytes:",
        "if False:",
        "true_png",
    ),
    _mutant(
        "an image has no more pixels than are allowed",
        "pipeline/images/preparation.py",
        "if width * height > largest:",
        "if False:",
        "true_png true_images",
    ),
    _mutant(
        "a file is no larger than is allowed",
        "helper.py",
        "if (size := max(size, len(content))) > most:",
        "if False:",
        "true_png",
    ),
    _mutant(
        "no more is decompressed than the header says",
        "pipeline/images/png_check.py",
        "            if size > expected:",
        "            if False:",
        "true_png",
    ),
    _mutant(
        "the pixels are whole, with their checksum",
        "pipeline/images/png_check.py",
        "if size < expected or not stream.eof:",
        "if size < expected:",
        "true_png",
    ),
    _mutant(
        "each row has a filter that there is",
        "pipeline/images/png_check.py",
        "if not header.interlace and rows[:: header.size // header.height].strip(FILTERS):",
        "if False:",
        "true_png",
    ),
    _mutant(
        "a palette is no longer than the depth allows",
        "pipeline/images/png_check.py",
        "if colours > 2**depth:",
        "if False:",
        "true_png",
    ),
    _mutant(
        "no pixel points beyond the palette",
        "pipeline/images/image_decoder.py",
        "if header.colours and image.getextrema()[1] >= header.colours:",
        "if False:",
        "true_png",
    ),
    _mutant(
        "a JPEG has its end",
        "pipeline/images/jpeg_check.py",
        """
    if not found:
        raise ImageError("is cut off: it has no end (EOI)")
    start = found.end()
""",
        """
    if not found:
        return EOI, position, position
    start = found.end()
""",
        "true_images",
    ),
    _mutant(
        "a WebP is as long as it says",
        "pipeline/images/formats.py",
        "if 8 + length > len(content):",
        "if False:",
        "true_images",
    ),
    _mutant(
        "a BMP is as long as it says, and as its size asks for",
        "pipeline/images/formats.py",
        "if length > len(content):",
        "if False:",
        "true_images",
    ),
    _mutant(
        "a GIF has its end",
        "pipeline/images/formats.py",
        "while (block := _byte(content, position)) != GIF_END:",
        "while position < len(content) and (block := _byte(content, position)) != GIF_END:",
        "true_images",
    ),
    _mutant(
        "the pixels of each image in a TIFF are in it",
        "pipeline/images/tiff_check.py",
        "if any(start + length > len(content) for",
        "if False and any(start + length > len(content) for",
        "true_images",
    ),
    _mutant(
        "the boxes of an AVIF are in it",
        "pipeline/images/formats.py",
        "if max(end for *_, end in boxes) > len(content):",
        "if False:",
        "true_images",
    ),
    _mutant(
        "the pixels of an AVIF are in it",
        "pipeline/images/formats.py",
        """if not {name for name, *_ in boxes} & {b"mdat", b"idat"}:""",
        "if False:",
        "true_images",
    ),
    _mutant(
        "images that do not decode together are decoded alone",
        "pipeline/images/image_stacks.py",
        "if unfinished >= 0 or error:",
        "if False:",
        "true_images",
    ),
    _mutant(
        "chunks are in their order",
        "pipeline/images/png_check.py",
        "if data[-1] - data[0] != len(data) - 1:",
        "if False:",
        "true_png",
    ),
    _mutant(
        "a pickle gets names from a list alone, not whole modules",
        "pipeline/artifacts/safe_pickle.py",
        """
        if asked not in ALLOWED:
            raise _NotAllowed(printable(asked))
        return ALLOWED[asked]
""",
        """
        if asked not in ALLOWED and module != "numpy":
            raise _NotAllowed(printable(asked))
        return ALLOWED.get(asked) or getattr(np, name)
""",
        "pickle_code",
    ),
    _mutant(
        "nothing follows the end of a pickle",
        "pipeline/artifacts/safe_pickle.py",
        "whole = not file.read(1)",
        "whole = True",
        "pickle_code",
    ),
    _mutant(
        "no key takes forever to hash",
        "pipeline/artifacts/safe_pickle.py",
        "if not isinstance(key, str | int | float | bytes | None):",
        "if False:",
        "pickle_code",
    ),
    _mutant(
        "a pickle has no more values than bytes",
        "pipeline/artifacts/safe_pickle.py",
        "        if self.left < 0:\n",
        "        if False:\n",
        "pickle_code",
    ),
    _mutant(
        "no more memory is set aside than there are bytes",
        "pipeline/artifacts/safe_pickle.py",
        "    dispatch[pickle.BYTEARRAY8[0]] = load_bytearray8\n",
        "",
        "pickle_code",
    ),
    _mutant(
        "a model's configuration names only what the allow-list has",
        "pipeline/artifacts/keras_archive.py",
        "        _refuse_if(name not in allowed, name)\n",
        "",
        "pickle_code",
    ),
    _mutant(
        "each call in a model is of a tensor",
        "pipeline/artifacts/keras_archive.py",
        "            _refuse_if(self.tensors == before, ",
        "            _refuse_if(False, ",
        "pickle_code",
    ),
    _mutant(
        "a setting is a word that Keras knows, no path",
        "pipeline/artifacts/keras_archive.py",
        "            _refuse_if(not _is_known(key, value), ",
        "            _refuse_if(False, ",
        "pickle_code",
    ),
    _mutant(
        "weights lie in the model's own file",
        "pipeline/artifacts/keras_archive.py",
        "            _refuse_if(not isinstance(link, h5py.HardLink), ",
        "            _refuse_if(False, ",
        "pickle_code",
    ),
    _mutant(
        "a model's archive is stored as it is, not compressed",
        "pipeline/artifacts/keras_archive.py",
        "            _refuse_if(bool(compressed), ",
        "            _refuse_if(False, ",
        "pickle_code",
    ),
    _mutant(
        "a model is in checkpoints alone",
        "pipeline/artifacts/safe_pickle.py",
        "        if self.models < 0:\n",
        "        if False:\n",
        "pickle_code",
    ),
    _mutant(
        "whatever damaged bytes raise is a refusal",
        "pipeline/artifacts/safe_pickle.py",
        "except Exception as error:  # the pickle machine raises",
        "except ValueError as error:  # the pickle machine raises",
        "fuzz",
    ),
    _mutant(
        "a set that is no TOML is refused",
        "pipeline/artifacts/hyperparameters.py",
        "except (ValueError, RecursionError) as error:",
        "except RecursionError as error:",
        "fuzz",
    ),
    _mutant(
        "a table that is no text is refused",
        "pipeline/tables/reader.py",
        "except UnicodeDecodeError as error:",
        "except UnicodeEncodeError as error:",
        "fuzz",
    ),
    _mutant(
        "a PNG that is cut off is refused",
        "pipeline/images/png_check.py",
        "if position + 12 > len(content):",
        "if False:",
        "fuzz true_png",
    ),
)
HOW_A_STAGE_LIVES = (
    _mutant(
        "one process of a stage holds the lock",
        "pipeline/stage/lock.py",
        "fcntl.flock(self.file, fcntl.LOCK_EX | fcntl.LOCK_NB)",
        "pass",
        "one_process",
    ),
    _mutant(
        "a lock whose file was replaced is lost",
        "pipeline/stage/lock.py",
        "            return identity(self.path) == self.identity\n",
        "            return True\n",
        "one_process",
    ),
    _mutant(
        "the others say which process it is",
        "pipeline/stage/lock.py",
        '            self.file.write(f"{os.getpid()}\\n")\n',
        "",
        "one_process",
    ),
    _mutant(
        "SIGTERM stops as Ctrl-C does",
        "pipeline/stage/process.py",
        "STOPS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)",
        "STOPS = (signal.SIGINT, signal.SIGHUP)",
        "stops",
    ),
    _mutant(
        "a stop is heeded at once",
        "pipeline/stage/process.py",
        "        stop_asked.set()\n        raise KeyboardInterrupt\n",
        "        stop_asked.set()\n",
        "stops",
    ),
    _mutant(
        "each file that was read is closed",
        "helper.py",
        "    finally:\n        os.close(descriptor)\n    if (size",
        "    finally:\n        pass\n    if (size",
        "long_life",
    ),
    _mutant(
        "the memory of the images is given back",
        "pipeline/images/reader_processes.py",
        "        os.close(self._memory)\n",
        "",
        "long_life",
    ),
)
WHO_MAY_USE_THE_PAGE = (
    _mutant(
        "only its own names lead to the page",
        "pipeline/access/guard.py",
        " or not self.access.is_name(parts[1]):",
        ":",
        "page",
    ),
    _mutant(
        "no other page sends a request",
        "pipeline/access/guard.py",
        '        if any(origin not in (f"http://{host}", f"https://{host}") for origin in origins):\n',
        "        if False:\n",
        "page",
    ),
    _mutant(
        "who changes something says which page it is",
        "pipeline/access/guard.py",
        "        if method not in READS and not origins:\n",
        "        if False:\n",
        "page",
    ),
    _mutant(
        "nothing in another page is asked for here",
        "pipeline/access/guard.py",
        'if site and site[0] not in ("same-origin", "none") and not is_link:',
        "if False:",
        "page",
    ),
    _mutant(
        "a websocket is looked at as a request is",
        "pipeline/access/guard.py",
        "        elif reason or not (self.is_known(scope) or is_request):\n",
        "        elif False:\n",
        "page",
    ),
    _mutant(
        "nobody enters without the token's cookie",
        "pipeline/access/entry.py",
        "return sent is not None and same(sent.value, self.proof())",
        "return True",
        "page",
    ),
    _mutant(
        "the bytes that come are counted",
        "pipeline/uploads/incoming.py",
        "                    if start > size:\n",
        "                    if False:\n",
        "page",
    ),
    _mutant(
        "a path that comes is looked at like an archive's",
        "pipeline/uploads/incoming.py",
        "checked = [(names.check(Member(path, FILE, size)), size) for path, size in files]",
        'checked = [(path, size) for path, size in files if names.check(Member("a", FILE, size))]',
        "page",
    ),
    _mutant(
        "nothing is put over another",
        "pipeline/uploads/incoming.py",
        "            target.mkdir()  # the name is ours now, or there was one\n",
        "",
        "page",
    ),
)
MUTANTS = (
    *(*WHAT_IS_DROPPED_IN, *WHAT_GOES_WRONG, *WHAT_IS_LET_IN, *HOW_A_STAGE_LIVES),
    *WHO_MAY_USE_THE_PAGE,
)
