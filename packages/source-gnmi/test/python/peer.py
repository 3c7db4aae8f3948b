"""The other side of gNMI, of code that is not ours: Debian's python3-grpcio and messages generated from the public gnmi.proto.

`peer.py server` is a small device; `peer.py client ADDRESS` asks one. Both take one JSON object a line on standard input
and answer with one a line on standard output.
"""

import json
import pathlib
import queue
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from concurrent import futures

import grpc
from google.protobuf import json_format

FOLDER = "github.com/openconfig/gnmi/proto"


def generate():
    """Generates the messages from the public files and makes them importable."""
    public = pathlib.Path(__file__).parent.parent / "public"
    out = pathlib.Path(tempfile.mkdtemp(prefix="tidemark-gnmi-"))
    files = [f"{FOLDER}/{name}/{name}.proto" for name in ("gnmi", "gnmi_ext")]
    # As a program: only that knows where the well-known types are.
    protoc = [sys.executable, "-m", "grpc_tools.protoc", f"-I{public}"]
    subprocess.run([*protoc, f"--python_out={out}", f"--grpc_python_out={out}", *files], check=True)
    # Some releases of the plugin take the dot in github.com for a part of a folder's name.
    apart = out / "github.com"
    if apart.exists():
        shutil.copytree(apart, out / "github" / "com", dirs_exist_ok=True)
    sys.path.insert(0, str(out))
    from importlib import import_module

    package = FOLDER.replace("/", ".")
    modules = [import_module(f"{package}.{name}") for name in ("gnmi.gnmi_pb2", "gnmi.gnmi_pb2_grpc")]
    shutil.rmtree(out)
    return modules


pb, rpc = generate()


def say(message):
    print(json.dumps(message), flush=True)


def parse(cls, value):
    return json_format.ParseDict(value, cls())


def shown(message):
    return json_format.MessageToDict(message, preserving_proto_field_name=True)


class Device(rpc.gNMIServicer):
    """Leaves by their path as text; every subscriber has a queue."""

    def __init__(self):
        self.lock = threading.Lock()
        self.leaves = {}
        self.subscribers = set()

    def apply(self, notification):
        notification.timestamp = time.time_ns()
        with self.lock:
            for path in notification.delete:
                self.leaves = {key: leaf for key, leaf in self.leaves.items() if not starts_with(leaf.path, path)}
            for update in notification.update:
                self.leaves[update.path.SerializeToString(deterministic=True)] = update
            for subscriber in self.subscribers:
                subscriber.put(pb.SubscribeResponse(update=notification))

    def Capabilities(self, request, context):
        return pb.CapabilityResponse(supported_encodings=[pb.JSON, pb.PROTO], gNMI_version="0.10.0")

    def Get(self, request, context):
        with self.lock:
            notification = pb.Notification(timestamp=time.time_ns(), update=list(self.leaves.values()))
        return pb.GetResponse(notification=[notification])

    def Set(self, request, context):
        self.apply(pb.Notification(delete=request.delete, update=[*request.replace, *request.update]))
        return pb.SetResponse(timestamp=time.time_ns())

    def Subscribe(self, requests, context):
        first = next(requests)
        say({"event": "subscribe", "request": shown(first), "metadata": dict(context.invocation_metadata())})
        own = queue.Queue()
        with self.lock:
            leaves = list(self.leaves.values())
            self.subscribers.add(own)
        context.add_callback(lambda: (self.subscribers.discard(own), own.put(None)))
        for leaf in leaves:
            yield pb.SubscribeResponse(update=pb.Notification(timestamp=time.time_ns(), update=[leaf]))
        yield pb.SubscribeResponse(sync_response=True)
        if first.subscribe.mode == pb.SubscriptionList.ONCE:
            return
        while True:
            response = own.get()
            if response is None:
                return
            yield response


def starts_with(path, start):
    return list(path.elem)[: len(start.elem)] == list(start.elem)


def serve():
    device = Device()
    server = grpc.server(futures.ThreadPoolExecutor(max_workers=16))
    rpc.add_gNMIServicer_to_server(device, server)
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    say({"port": port})
    for line in sys.stdin:
        device.apply(parse(pb.Notification, json.loads(line)))
    server.stop(0)


def ask(address):
    channel = grpc.insecure_channel(address)
    stub = rpc.gNMIStub(channel)
    say({"ready": True})
    for line in sys.stdin:
        call = json.loads(line)
        try:
            answer(stub, call)
        except grpc.RpcError as error:
            say({"error": error.code().name, "detail": error.details()})
    channel.close()


def answer(stub, call):
    method, request = call["method"], call["request"]
    if method == "Capabilities":
        say(shown(stub.Capabilities(pb.CapabilityRequest(), timeout=10)))
    elif method == "Get":
        say(shown(stub.Get(parse(pb.GetRequest, request), timeout=10)))
    elif method == "Set":
        say(shown(stub.Set(parse(pb.SetRequest, request), timeout=10)))
    elif method == "Subscribe":
        threading.Thread(target=subscribe, args=(stub, [parse(pb.SubscribeRequest, each) for each in request])).start()


def subscribe(stub, requests):
    wait = threading.Event()

    def outgoing():
        yield from requests
        # A stream that is half-closed could end; this one stays.
        wait.wait()

    try:
        for response in stub.Subscribe(outgoing(), timeout=30):
            say(shown(response))
        say({"ended": True})
    except grpc.RpcError as error:
        say({"error": error.code().name, "detail": error.details()})
    finally:
        wait.set()


if __name__ == "__main__":
    serve() if sys.argv[1] == "server" else ask(sys.argv[2])
