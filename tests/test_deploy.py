"""Containers, services and manifests: each stage has one, and none is open to the world.

What only an engine can show, deploy/containers_test.py does (make containers-test).
"""

import re
import shlex
import shutil
import subprocess
from configparser import ConfigParser

import pytest
import yaml

import constants
from constants import ROOT
from pipeline.training.health import STAGES

DEPLOY = ROOT / "deploy"
SCRIPTS = {
    "ingestion": "data_ingestion.py",
    "training": "model_training.py",
    "analysis": "model_analysis.py",
    "prediction": "model_prediction.py",
}
DOCKERFILE = (ROOT / "Dockerfile").read_text()
COMPOSE = yaml.safe_load((ROOT / "compose.yaml").read_text())
SERVICES = COMPOSE["services"]
KUSTOMIZATION = yaml.safe_load((DEPLOY / "kubernetes" / "kustomization.yaml").read_text())
UNITS = DEPLOY / "systemd"
COMMON_UNIT = UNITS / "ml-ops-pipeline-.service.d" / "common.conf"
WORKFLOWS = sorted((ROOT / ".github" / "workflows").glob("*.yml"))
HEALTH_CHECK = 'exec python run_queue.py --health --stage "$STAGE"'
STOPS_WITHIN = constants.STOP + 1  # seconds, by which a stage that is asked to stop has ended


def instructions():
    """(name, rest) of each instruction of the Dockerfile."""
    text = re.sub(r"^#.*\n", "", DOCKERFILE, flags=re.MULTILINE).replace("\\\n", " ")
    return [tuple(line.split(maxsplit=1)) for line in text.splitlines() if line]


def given(name):
    return [rest for instruction, rest in instructions() if instruction == name]


def manifests():
    """Each object that the Kubernetes manifests describe, before anything is patched."""
    for name in KUSTOMIZATION["resources"]:
        yield from yaml.safe_load_all((DEPLOY / "kubernetes" / name).read_text())


def deployments():
    return {
        manifest["metadata"]["name"]: manifest["spec"]["template"]["spec"]
        for manifest in manifests()
        if manifest["kind"] == "Deployment"
    }


def seconds(text):
    return float(text.removesuffix("s"))


def test_each_stage_has_a_script():
    assert SCRIPTS.keys() == set(STAGES)
    assert all((ROOT / script).is_file() for script in SCRIPTS.values())


def test_the_image_is_built_from_a_version_with_the_versions_that_were_tested():
    assert given("FROM") == ["python:3.11-slim"]
    [install] = [line for line in given("RUN") if "pip install" in line]
    assert "-c constraints.txt -r requirements.txt" in install
    copied = [line.split()[:-1] for line in given("COPY")]
    assert copied[0] == ["requirements.txt", "constraints.txt"]  # a layer of their own
    for pattern in (name for names in copied for name in names):
        assert list(ROOT.glob(pattern)), pattern


def test_the_image_needs_no_more_than_the_older_builders_know():
    assert "<<" not in DOCKERFILE
    assert "--link" not in DOCKERFILE


def test_the_image_says_who_runs_it_how_it_stops_and_how_it_is():
    [user] = given("USER")
    assert re.fullmatch(r"[1-9]\d*:[1-9]\d*", user)
    assert given("STOPSIGNAL") == ["SIGTERM"]
    [check] = given("HEALTHCHECK")
    assert HEALTH_CHECK in check.replace('\\"', '"')


def test_what_the_image_is_made_of_is_sent_to_the_builder_and_data_is_not():
    lines = (ROOT / ".dockerignore").read_text().splitlines()
    sent = {line.removeprefix("!") for line in lines if line.startswith("!")}
    assert sent == {name.rstrip("/") for line in given("COPY") for name in line.split()[:-1]}
    assert "*" in lines


@pytest.mark.parametrize("stage", STAGES)
def test_each_stage_has_a_container(stage):
    service = SERVICES[stage]
    assert service["command"] == ["python", SCRIPTS[stage]]
    assert service["environment"]["STAGE"] == stage  # of which the health check asks
    assert service["network_mode"] == "none"
    assert seconds(service["stop_grace_period"]) > 2 * STOPS_WITHIN
    targets = [volume.split("}:")[1] for volume in service["volumes"]]
    assert targets == ["/app/data", "/app/models:ro", "/app/hyperparameters:ro"]


@pytest.mark.parametrize("name", SERVICES)
def test_each_container_is_started_again_and_confined(name):
    service = SERVICES[name]
    assert service["restart"] == "unless-stopped"
    assert service["read_only"] and service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert re.fullmatch(rf"ml-ops-pipeline:{re.escape(constants.VERSION)}(-gpu)?", service["image"])
    for port in service.get("ports", []):
        assert port.startswith("127.0.0.1:")


def test_the_page_asks_for_a_token_that_is_a_file():
    service = SERVICES["page"]
    token = "/run/secrets/page_token"
    assert service["command"] == ["python", "web_ui.py", "--host", "0.0.0.0", "--token-file", token]
    assert service["secrets"] == list(COMPOSE["secrets"]) == ["page_token"]
    [container] = deployments()["page"]["containers"]
    assert f"--token-file={token}" in container["command"]
    assert "--token-file %d/page_token" in (UNITS / "ml-ops-pipeline-page.service").read_text()
    assert "/page_token" in (ROOT / ".gitignore").read_text().splitlines()


def test_training_has_a_limit_of_memory_and_a_twin_for_gpus():
    assert SERVICES["training"]["mem_limit"]
    twin = SERVICES["training-gpu"]
    assert twin["profiles"] == ["gpu"]
    assert twin["command"] == SERVICES["training"]["command"]
    assert twin["build"]["args"] == {"TENSORFLOW": "tensorflow[and-cuda]"}
    assert given("ARG") == ["TENSORFLOW=tensorflow"]


@pytest.mark.parametrize("stage", STAGES)
def test_each_stage_has_a_deployment(stage):
    [container] = deployments()[stage]["containers"]
    assert container["command"][:2] == ["python", SCRIPTS[stage]]
    assert container["env"] == [{"name": "STAGE", "value": stage}]


def test_what_all_deployments_have_is_patched_in():
    patches = [
        yaml.safe_load((DEPLOY / "kubernetes" / patch["path"]).read_text())["spec"]
        for patch in KUSTOMIZATION["patches"]
    ]
    each, stage = patches
    assert each["strategy"] == {"type": "Recreate"} and each["replicas"] == 1
    pod = each["template"]["spec"]
    assert pod["securityContext"]["runAsNonRoot"] is True
    assert pod["terminationGracePeriodSeconds"] > 2 * STOPS_WITHIN
    [container] = pod["containers"]
    assert container["securityContext"]["capabilities"] == {"drop": ["ALL"]}
    [stage_container] = stage["template"]["spec"]["containers"]
    for probe in ("livenessProbe", "startupProbe"):
        assert stage_container[probe]["exec"]["command"] == ["sh", "-c", HEALTH_CHECK]
    names = {c["name"] for spec in deployments().values() for c in spec["containers"]}
    assert names == {container["name"]} == {stage_container["name"]}  # or it would be another one
    assert KUSTOMIZATION["images"] == [{"name": "ml-ops-pipeline", "newTag": constants.VERSION}]


def test_one_volume_is_shared_by_pods_on_any_node():
    [claim] = [m for m in manifests() if m["kind"] == "PersistentVolumeClaim"]
    assert claim["spec"]["accessModes"] == ["ReadWriteMany"]


def unit(path):
    """The sections of a unit; of a key that is given twice, the last."""
    parser = ConfigParser(strict=False, interpolation=None, delimiters=["="])
    parser.optionxform = str
    parser.read(path)
    return parser


@pytest.mark.parametrize("stage", STAGES)
def test_each_stage_has_a_service(stage):
    name = f"ml-ops-pipeline-{stage}.service"
    service = unit(UNITS / name)["Service"]
    program, script, *options = shlex.split(service["ExecStart"])
    assert program == "/opt/ml-ops-pipeline/.venv/bin/python"
    assert script == SCRIPTS[stage]
    assert options == ["--data", "/var/lib/ml-ops-pipeline"]
    assert service["PrivateNetwork"] == "yes"
    assert name in (UNITS / "ml-ops-pipeline.target").read_text()


def test_a_service_is_started_again_unless_the_user_has_to_put_something_right():
    common = unit(COMMON_UNIT)["Service"]
    assert common["Restart"] == "on-failure"
    assert common["RestartPreventExitStatus"] == "1 2"
    assert common["OOMPolicy"] == "continue"
    assert float(common["TimeoutStopSec"]) > 2 * STOPS_WITHIN


@pytest.fixture
def analyze(tmp_path):
    """Ask systemd about the units, as if they and the programs that they start were installed."""
    if not shutil.which("systemd-analyze"):
        pytest.skip("systemd-analyze is not here. Install it: sudo apt-get install systemd.")
    units = tmp_path / "etc" / "systemd" / "system"
    shutil.copytree(UNITS, units)
    shutil.copytree("/lib/systemd/system", tmp_path / "usr/lib/systemd/system", symlinks=True)
    (tmp_path / "lib").symlink_to("usr/lib")
    programs = tmp_path / "opt/ml-ops-pipeline/.venv/bin"
    programs.mkdir(parents=True)
    for program in ("python", "tensorboard"):
        shutil.copy("/bin/true", programs)
        (programs / "true").rename(programs / program)

    def ask(*arguments):
        return subprocess.run(
            ["systemd-analyze", "--no-pager", f"--root={tmp_path}", *arguments],
            capture_output=True,
            text=True,
        )

    ask.units = units
    return ask


def services():
    return sorted(path.name for path in UNITS.glob("*.service"))


def test_systemd_understands_each_line(analyze):
    command = ["verify", "--man=no", "ml-ops-pipeline.target", *services()]
    ended = analyze(*command)
    assert (ended.returncode, ended.stdout + ended.stderr) == (0, "")
    common = analyze.units / COMMON_UNIT.relative_to(UNITS)
    common.write_text(common.read_text() + "ProtectEverything=yes\n")
    assert "Unknown key 'ProtectEverything'" in analyze(*command).stderr


@pytest.mark.parametrize("name", services())
def test_systemd_finds_each_service_hardened(analyze, name):
    """Of at most 100 points of exposure, it may have 20."""
    ended = analyze("security", "--offline=true", "--threshold=20", name)
    assert ended.returncode == 0, ended.stdout


@pytest.mark.parametrize("path", WORKFLOWS, ids=[path.name for path in WORKFLOWS])
def test_each_workflow_is_read_and_names_versions(path):
    jobs = yaml.safe_load(path.read_text())["jobs"]
    used = [step["uses"] for job in jobs.values() for step in job["steps"] if "uses" in step]
    assert used
    for action in used:
        assert re.fullmatch(r"[\w-]+/[\w-]+@v\d+", action)
    assert all("timeout-minutes" in job for job in jobs.values())


def test_nothing_is_fetched_from_a_place_of_its_own():
    """No package index, no mirror and no latest version: what the image holds, the constraints say."""
    files = [ROOT / "Dockerfile", ROOT / "compose.yaml", *DEPLOY.rglob("*"), *WORKFLOWS]
    texts = {path: path.read_text() for path in files if path.is_file() and path.suffix != ".pyc"}
    assert len(texts) > 15
    for path, text in texts.items():
        assert not re.search(r"index-url|find-links|trusted-host|:latest\b", text), path
