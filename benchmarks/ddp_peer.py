"""One rank of the peer: PyTorch DistributedDataParallel over gloo, the model of benchmarks/overlap.py, random tokens.

Started by overlap.py. For each bucket size and each of none and full (torch.utils.checkpoint, non-reentrant) it trains
in turn, with and without communication, and rank 0 prints one JSON document: medians of the slower rank in seconds.
"""

import copy
import json
import math
import statistics
import sys
import time

import torch
import torch.distributed as dist
import torch.nn.functional as F
from torch import nn
from torch.nn.parallel import DistributedDataParallel
from torch.utils.checkpoint import checkpoint


class Block(nn.Module):
    def __init__(self, width, heads):
        super().__init__()
        self.heads = heads
        self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.qkv, self.out = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.up, self.down = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)

    def forward(self, x):
        batch, context, width = x.shape
        q, k, v = (part.view(batch, context, self.heads, -1).transpose(1, 2)
                   for part in self.qkv(self.norm1(x)).split(width, dim=2))
        mixed = F.scaled_dot_product_attention(q, k, v, is_causal=True).transpose(1, 2).reshape(batch, context, width)
        x = x + self.out(mixed)
        return x + self.down(F.gelu(self.up(self.norm2(x)), approximate="tanh"))


class Gpt(nn.Module):
    def __init__(self, layers, width, heads, context, vocabulary):
        super().__init__()
        self.recompute = False
        self.tokens, self.positions = nn.Embedding(vocabulary, width), nn.Embedding(context, width)
        self.blocks = nn.ModuleList(Block(width, heads) for _ in range(layers))
        self.norm = nn.LayerNorm(width)
        for parameter in self.parameters():
            if parameter.dim() == 2:
                nn.init.normal_(parameter, std=0.02)

    def forward(self, tokens, targets):
        x = self.tokens(tokens) + self.positions.weight
        for block in self.blocks:
            x = checkpoint(block, x, use_reentrant=False) if self.recompute else block(x)
        logits = F.linear(self.norm(x), self.tokens.weight)
        return F.cross_entropy(logits.view(-1, logits.shape[-1]), targets.reshape(-1))


class Contender:
    """One bucket size: a replica, its optimizer, and the times of its steps."""

    def __init__(self, model, bucket_mb):
        self.model = copy.deepcopy(model)
        # None is the default, 25 MiB with a first bucket of 1 MiB; 25 would make the first one as wide.
        self.ddp = DistributedDataParallel(self.model, bucket_cap_mb=None if bucket_mb == 25 else bucket_mb,
                                           gradient_as_bucket_view=True)
        self.optimizer = torch.optim.AdamW(self.model.parameters(), lr=1e-5, fused=True)
        self.seconds = {}

    def step(self, recompute, communicates, tokens, counts):
        self.model.recompute = recompute
        dist.barrier()
        start = time.perf_counter()
        self.optimizer.zero_grad(set_to_none=False)
        if communicates:
            self.ddp(tokens[:, :-1], tokens[:, 1:]).backward()
        else:
            with self.ddp.no_sync():
                self.ddp(tokens[:, :-1], tokens[:, 1:]).backward()
        nn.utils.clip_grad_norm_(self.model.parameters(), 1.0, foreach=True)
        self.optimizer.step()
        seconds = torch.tensor([time.perf_counter() - start])
        dist.all_reduce(seconds, dist.ReduceOp.MAX)
        if counts:
            name = ("full" if recompute else "none") + ("" if communicates else " without communication")
            self.seconds.setdefault(name, []).append(seconds.item())


def all_reduce_seconds(numel, rounds):
    flat, samples = torch.zeros(numel), []
    for _ in range(rounds):
        dist.barrier()
        start = time.perf_counter()
        dist.all_reduce(flat)
        seconds = torch.tensor([time.perf_counter() - start])
        dist.all_reduce(seconds, dist.ReduceOp.MAX)
        samples.append(seconds.item())
    return statistics.median(samples)


def main():
    setting = json.loads(sys.argv[1])
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=setting["address"], rank=setting["rank"], world_size=2)
    torch.manual_seed(1)
    shape = setting["model"]
    model = Gpt(**shape)
    contenders = {bucket_mb: Contender(model, bucket_mb) for bucket_mb in setting["bucket_mb"]}
    for round_number in range(-1, setting["rounds"]):
        tokens = torch.randint(shape["vocabulary"], (setting["sequences"], shape["context"] + 1))
        for contender in contenders.values():
            for recompute in (False, True):
                contender.step(recompute, True, tokens, round_number >= 0)
        next(iter(contenders.values())).step(False, False, tokens, round_number >= 0)
    numel = sum(math.prod(parameter.shape) for parameter in model.parameters())
    alone = all_reduce_seconds(numel, 5)
    if setting["rank"] == 0:
        print(json.dumps({"all_reduce_seconds": alone, "gradient_bytes": 4 * numel, "buckets": {
            str(bucket_mb): {name: {"median": statistics.median(samples), "samples": samples}
                             for name, samples in contender.seconds.items()}
            for bucket_mb, contender in contenders.items()}}))
    dist.destroy_process_group()


if __name__ == "__main__":
    main()
