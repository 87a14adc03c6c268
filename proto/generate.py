"""Writes everything that is derived from proto/: run by `make proto` in an environment of its own.

    python proto/generate.py [FOLDER]

FOLDER (the checkout by default) receives
  clients/traind/v1/*_pb2.py, *_pb2_grpc.py and their .pyi     messages, stubs and servicers
  clients/buf/validate/validate_pb2.py                         the validation rules' options, which the messages import
  clients/traind/v1/api.binpb                                  every descriptor with its comments: OpenAPI, JSON Schema
  build/api.binpb                                              the same with all imports, for `buf lint`
  service/rpc/oip/open_inference_pb2.py and its .pyi           the messages of the Open Inference Protocol
"""

import pathlib
import subprocess
import sys
import sysconfig

from google.protobuf import descriptor_pb2
from protovalidate._gen.buf.validate import validate_pb

ROOT = pathlib.Path(__file__).resolve().parent
RULES = "buf/validate/validate.proto"


def validation_rules() -> bytes:
    """A descriptor set of buf/validate/validate.proto; protovalidate ships it as a descriptor only."""
    file = descriptor_pb2.FileDescriptorProto.FromString(validate_pb.desc().proto.to_binary())
    return descriptor_pb2.FileDescriptorSet(file=[file]).SerializeToString(deterministic=True)


def main() -> None:
    """Generate everything."""
    out = pathlib.Path(sys.argv[1]).resolve() if len(sys.argv) > 1 else ROOT.parent
    for folder in ("build", "clients/traind/v1", "service/rpc/oip"):
        (out / folder).mkdir(parents=True, exist_ok=True)
    rules = out / "build" / "validate.binpb"
    rules.write_bytes(validation_rules())
    protoc = [
        sys.executable,
        "-m",
        "grpc_tools.protoc",
        f"--descriptor_set_in={rules}",
        f"-I{ROOT}",
        f"-I{sysconfig.get_paths()['purelib']}",
    ]
    ours = sorted(str(p.relative_to(ROOT)) for p in ROOT.glob("traind/v1/*.proto"))
    clients = out / "clients"
    code = [f"--python_out={clients}", f"--mypy_out=quiet:{clients}"]
    stubs = [f"--grpc_python_out={clients}", f"--mypy_grpc_out=quiet:{clients}"]
    bin_folder = pathlib.Path(sys.executable).parent
    env = {"PATH": f"{bin_folder}:/usr/bin:/bin"}  # protoc-gen-mypy stands beside the interpreter
    subprocess.run([*protoc, *code, *ours, RULES], check=True, env=env)
    services = [p for p in ours if "service " in (ROOT / p).read_text(encoding="utf-8")]
    subprocess.run([*protoc, *stubs, *services], check=True, env=env)
    oip = out / "service" / "rpc" / "oip"
    subprocess.run(
        [*protoc, f"-I{ROOT / 'inference'}", f"--python_out={oip}", f"--mypy_out=quiet:{oip}", "open_inference.proto"],
        check=True,
        env=env,
    )
    with_comments = [*protoc, "--include_source_info"]
    for target, imports in (("clients/traind/v1/api.binpb", []), ("build/api.binpb", ["--include_imports"])):
        subprocess.run(
            [*with_comments, *imports, f"--descriptor_set_out={out / target}", *ours],
            check=True,
            env=env,
        )


if __name__ == "__main__":
    main()
