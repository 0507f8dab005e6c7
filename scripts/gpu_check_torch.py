"""PyTorch's side of scripts/gpu_check.py: the GPT-2 of our run in plain PyTorch, same weights, same tokens.

One argument, JSON: {weights, shard, device, precision, backend, layers, heads, context, vocabulary, sequences,
learning_rate}. Reads lines "eager N" and "compile N" from its input; each makes N steps from the initial weights and
prints one line of JSON: {"step_seconds": […], "losses": […], "peak_bytes": …} or {"refused": why}. Parameters and
gradients are fp32 under autocast, attention is SDPA, the optimizer fused AdamW with clipping: what such a script is
commonly written with.
"""

import json
import struct
import sys
import time

import torch
import torch.nn.functional as F
from torch import nn

SHARD_HEADER_BYTES = 1024


def read_safetensors(path):
    with open(path, "rb") as file:
        (size,) = struct.unpack("<Q", file.read(8))
        header, data = json.loads(file.read(size)), bytearray(file.read())
    header.pop("__metadata__", None)
    tensors = {}
    for name, entry in header.items():  # all of them fp32
        begin, end = entry["data_offsets"]
        flat = torch.frombuffer(data, dtype=torch.float32, count=(end - begin) // 4, offset=begin)
        tensors[name] = flat.view(entry["shape"])
    return tensors


class Layer(nn.Module):
    def __init__(self, width, heads):
        super().__init__()
        self.heads = heads
        self.attention = nn.ModuleDict({"norm": nn.LayerNorm(width), "qkv": nn.Linear(width, 3 * width),
                                        "output": nn.Linear(width, width)})
        self.feed_forward = nn.ModuleDict({"norm": nn.LayerNorm(width), "up": nn.Linear(width, 4 * width),
                                           "down": nn.Linear(4 * width, width)})

    def forward(self, x):  # (B, T, C)
        part = self.attention
        q, k, v = (piece.unflatten(2, (self.heads, -1)).transpose(1, 2)
                   for piece in part["qkv"](part["norm"](x)).chunk(3, dim=2))
        mixed = F.scaled_dot_product_attention(q, k, v, is_causal=True).transpose(1, 2).flatten(2)
        x = x + part["output"](mixed)
        part = self.feed_forward
        return x + part["down"](F.gelu(part["up"](part["norm"](x)), approximate="tanh"))


class Gpt2(nn.Module):
    """Named as our parameters are, with `layers.N` for `layerN`."""

    def __init__(self, setting, width):
        super().__init__()
        self.embedding = nn.ModuleDict({"token": nn.Embedding(setting["vocabulary"], width),
                                        "position": nn.Embedding(setting["context"], width)})
        self.layers = nn.ModuleList(Layer(width, setting["heads"]) for _ in range(setting["layers"]))
        self.head = nn.ModuleDict({"norm": nn.LayerNorm(width)})

    def forward(self, tokens, targets):  # (B, T) each
        x = self.embedding["token"](tokens) + self.embedding["position"].weight[:tokens.shape[1]]
        for layer in self.layers:
            x = layer(x)
        logits = F.linear(self.head["norm"](x), self.embedding["token"].weight)
        return F.cross_entropy(logits.flatten(0, 1), targets.flatten())


class Peer:
    def __init__(self, setting):
        self.setting, self.device = setting, setting["device"]
        ours = read_safetensors(setting["weights"])
        table = "embedding.token"
        ours[table] = ours[table][:setting["vocabulary"]]  # the rest is padding
        self.initial = {}
        for name, tensor in ours.items():
            name = name.replace("layer", "layers.", 1) if name.startswith("layer") else name
            self.initial[name + ".weight" if name.startswith("embedding.") else name] = tensor
        self.model = Gpt2(setting, ours[table].shape[1]).to(self.device)
        self.models = {"eager": self.model}
        with open(setting["shard"], "rb") as file:
            stream = torch.frombuffer(bytearray(file.read()[SHARD_HEADER_BYTES:]), dtype=torch.uint16).long()
        shape = (setting["sequences"], setting["context"])
        self.batch = [part.view(shape) for part in (stream[:-1], stream[1:])]
        if self.device == "cuda":
            self.batch = [part.pin_memory() for part in self.batch]

    def compiled(self, kind):
        if kind not in self.models:
            self.models[kind] = torch.compile(self.model, backend=self.setting["backend"])
        return self.models[kind]

    def moment(self):
        if self.device != "cuda":
            return time.perf_counter()
        event = torch.cuda.Event(enable_timing=True)
        event.record()
        return event

    def block(self, kind, steps):
        model = self.compiled(kind)
        self.model.load_state_dict(self.initial)
        groups = [{"params": [p for p in self.model.parameters() if (p.dim() > 1) == decays],
                   "weight_decay": 0.1 if decays else 0.0} for decays in (True, False)]
        optimizer = torch.optim.AdamW(groups, lr=self.setting["learning_rate"], betas=(0.9, 0.95), eps=1e-8, fused=True)
        moments, losses = [], []
        is_narrow = self.setting["precision"] != "fp32"
        for _ in range(steps):
            moments.append(self.moment())
            tokens, targets = (part.to(self.device, non_blocking=True) for part in self.batch)
            with torch.autocast(self.device, torch.bfloat16, enabled=is_narrow):
                loss = model(tokens, targets)
            loss.backward()
            nn.utils.clip_grad_norm_(self.model.parameters(), 1.0)
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
            losses.append(loss.detach())
        moments.append(self.moment())
        losses = [loss.item() for loss in losses]  # waits for the device
        seconds = [a.elapsed_time(b) / 1e3 if self.device == "cuda" else b - a for a, b in zip(moments, moments[1:])]
        return {"step_seconds": seconds, "losses": losses}

    def answer(self, kind, steps):
        is_gpu = self.device == "cuda"
        if is_gpu:
            torch.cuda.reset_peak_memory_stats()
        try:
            result = self.block(kind, steps)
            if is_gpu:
                result["peak_bytes"] = torch.cuda.max_memory_allocated()
        except Exception as failure:  # of memory, of a missing compiler, …: a row of the report
            self.model.zero_grad(set_to_none=True)
            result = {"refused": f"{type(failure).__name__}: {failure}".splitlines()[0][:300]}
        if is_gpu:
            torch.cuda.empty_cache()  # the next block is the other program's
        return result


def main():
    peer = Peer(json.loads(sys.argv[1]))
    print(json.dumps({"torch": torch.__version__}), flush=True)
    for line in sys.stdin:
        kind, steps = line.split()
        print(json.dumps(peer.answer(kind, int(steps))), flush=True)


if __name__ == "__main__":
    main()
