"""The other end of `trainer.py`: starts that process, gives it a job, shows how far it is."""

import json
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import constants
from pipeline.stage import log, progress_bar

LAST_EVENTS = ("trained", "paused", "failed", "hindered")


class TrainingProcess:
    """The other process: one for each run, started early so that TensorFlow is ready when a run comes."""

    def __init__(self, timeout: float | None = None) -> None:
        """A run that takes longer than `timeout` seconds is killed, and so has failed."""
        self.timeout = timeout
        self.process: subprocess.Popen | None = None

    def __enter__(self) -> "TrainingProcess":
        return self

    def __exit__(self, *_: object) -> None:
        self._stop()

    def start(self) -> None:
        if self.process and self.process.poll() is None:
            return
        self._stop()
        self.errors = tempfile.TemporaryFile()  # noqa: SIM115 - what it says before it has a log of its own
        self.process = subprocess.Popen(
            [sys.executable, "-m", "pipeline.trainer"],
            cwd=constants.ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self.errors,
            start_new_session=True,  # Ctrl-C in the terminal is for this process, which then stops that one
        )

    def train(self, job: dict, should_pause: Callable[[dict], bool]) -> dict:
        """Have `job` trained; asks for a pause at the next epoch's end once
        `should_pause(report)` says so.

        Returns:
            the last report; its "event" is "trained", "paused", "failed" or "hindered".
        """
        self.start()
        progress = Progress(job)
        timer = threading.Timer(self.timeout or threading.TIMEOUT_MAX, self.process.kill)
        timer.daemon = True
        timer.start()
        try:
            self._send(json.dumps(job))
            asked = False
            for line in self.process.stdout:
                report = json.loads(line)
                if report["event"] in LAST_EVENTS:
                    return report
                progress.show(report)
                if not asked and should_pause(report):
                    self._send("pause")
                    asked = True
            if timer.finished.is_set():
                reason = f"it took longer than the {self.timeout:g} s of --run-timeout."
            else:
                reason = self._reason_of_death(Path(job["checkpoint"]).with_suffix(""))
            return {"event": "failed", "reason": reason}
        except KeyboardInterrupt:
            raise KeyboardInterrupt(progress.interrupted()) from None
        finally:
            timer.cancel()
            progress.close()
            self._stop()

    def _send(self, line: str) -> None:
        with suppress(BrokenPipeError):  # it has ended already; its exit status will say why
            self.process.stdin.write(line.encode() + b"\n")
            self.process.stdin.flush()

    def _stop(self) -> None:
        """End the process: without input it goes by itself; if it is stuck, kill it."""
        if self.process is None:
            return
        process, self.process = self.process, None
        with process.stdout:
            with suppress(BrokenPipeError):
                process.stdin.close()
            process.terminate()
            try:
                process.wait(constants.STOP)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        self.errors.close()

    def _reason_of_death(self, folder: Path) -> str:
        status = self.process.wait()
        self.errors.seek(0)
        early = self.errors.read().decode("utf-8", "replace")
        log_file = folder / "training.log"
        lines = (
            (early or (log_file.read_text("utf-8", "replace") if log_file.exists() else ""))
            .strip()
            .splitlines()
        )
        last = f" Its last words: {lines[-1][:300]}" if lines else ""
        if status < 0:
            name = signal.Signals(-status).name
            memory = ", often for want of memory" if name == "SIGKILL" else ""
            return f"the training process was ended by {name}{memory}.{last}"
        return f"the training process ended with exit status {status} and no result.{last}"


class Progress:
    """Shows how far a run is: a bar on a terminal."""

    def __init__(self, job: dict):
        self.name, self.epochs = job["name"], job["description"]["settings"]["epochs"]
        self.epoch, self.bar = 0, None

    def show(self, report: dict) -> None:
        if report["event"] == "fitting":
            self.epoch, done = report["epoch"], report["epoch"] * report["steps"]
            self.bar = progress_bar(report["steps"] * report["epochs"], "training", " steps", done)
            if done:
                log.info("%s: goes on after epoch %d of %d", self.name, self.epoch, self.epochs)
        elif report["event"] == "trouble":
            log.error("%s: %s", self.name, report["text"])
        elif self.bar is not None:
            self._advance(report)

    def _advance(self, report: dict) -> None:
        self.bar.set_description_str(
            f"training  | epoch {min(self.epoch + 1, self.epochs)} of {self.epochs}", refresh=False
        )
        self.bar.update(max(0, report["step"] - self.bar.n))
        if report["event"] == "epoch":
            self.epoch = report["epoch"]
            figures = {name: round(value, 4) for name, value in report["figures"].items()}
            accuracy = figures.get("val_accuracy", figures.get("accuracy"))
            self.bar.set_postfix_str(f"accuracy {accuracy:.3f}", refresh=False)
            log.debug("%s: epoch %d of %d: %s", self.name, self.epoch, self.epochs, figures)

    def interrupted(self) -> str:
        return f"{self.name} was in epoch {self.epoch + 1} of {self.epochs} and goes on from there"

    def close(self) -> None:
        if self.bar is not None:
            self.bar.close()
