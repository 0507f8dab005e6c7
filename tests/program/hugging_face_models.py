"""Random models in Hugging Face's form, and the logits that transformers gives. Needs torch and transformers.

    hugging_face_models.py fixtures FOLDER     makes tests/launcher/hugging_face anew
    hugging_face_models.py random FOLDER       models of several shapes
    hugging_face_models.py expect FOLDER...    logits of the models in these folders

expected.safetensors beside a model holds tokens (B, T) int64 and logits (B, T, V) fp32.
"""

import sys
from pathlib import Path

import torch
import transformers
from safetensors.torch import save_file

CLASSES = {"gpt2": (transformers.GPT2Config, transformers.GPT2LMHeadModel),
           "llama": (transformers.LlamaConfig, transformers.LlamaForCausalLM)}


def gpt2(vocabulary, context, width, layers, heads, **more):
    return "gpt2", {"vocab_size": vocabulary, "n_positions": context, "n_embd": width, "n_layer": layers,
                    "n_head": heads, **more}


def llama(vocabulary, context, width, layers, heads, kv_heads, inner, **more):
    return "llama", {"vocab_size": vocabulary, "max_position_embeddings": context, "hidden_size": width,
                     "num_hidden_layers": layers, "num_attention_heads": heads, "num_key_value_heads": kv_heads,
                     "intermediate_size": inner, "rms_norm_eps": 1e-5, **more}


SHAPES = {
    "gpt2-small": gpt2(257, 64, 64, 4, 4),
    "gpt2-wide": gpt2(1000, 128, 192, 3, 6, n_inner=500, tie_word_embeddings=False),
    "gpt2-deep": gpt2(50, 32, 32, 12, 8, activation_function="gelu_pytorch_tanh"),
    "llama-small": llama(257, 64, 64, 4, 4, 4, 172),
    "llama-grouped": llama(999, 128, 192, 3, 6, 2, 512, tie_word_embeddings=True),
    "llama-one-key": llama(128, 64, 96, 6, 8, 1, 256, rope_theta=500000.0),
}


def write_model(folder, shape, seed, dtype=torch.float32, **saving):
    """Weights far from their initial values, biases and norms too, so that every tensor and its place matter."""
    config, model = CLASSES[shape[0]]
    torch.manual_seed(seed)
    made = model(config(**shape[1], bos_token_id=0, eos_token_id=0)).to(dtype)
    with torch.no_grad():
        for parameter in made.parameters():
            parameter.add_(torch.randn_like(parameter) * (0.5 / parameter.shape[-1] ** 0.5))
    made.save_pretrained(folder, **saving)
    Path(folder, "generation_config.json").unlink()
    write_expected(folder, seed)


def write_expected(folder, seed=0):
    """In fp32; the class is the one that config.json names."""
    model, report = transformers.AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32,
                                                                      output_loading_info=True)
    if any(report[kind] for kind in ("missing_keys", "unexpected_keys", "mismatched_keys")):
        sys.exit(f"{folder}: {report}")
    length = min(64, model.config.max_position_embeddings)
    tokens = torch.randint(model.config.vocab_size, (2, length), generator=torch.Generator().manual_seed(seed))
    with torch.no_grad():
        logits = model.eval()(tokens).logits
    save_file({"tokens": tokens, "logits": logits.contiguous()}, Path(folder, "expected.safetensors"))


if __name__ == "__main__":
    target = Path(sys.argv[2])
    if sys.argv[1] == "fixtures":
        write_model(target / "gpt2", gpt2(11, 8, 8, 2, 2), 1)
        write_model(target / "llama", llama(13, 8, 16, 2, 4, 2, 20, rope_theta=500.0), 2, torch.bfloat16,
                    max_shard_size=3000)
    elif sys.argv[1] == "random":
        for number, (name, each) in enumerate(SHAPES.items()):
            write_model(target / name, each, number)
    else:
        for name in sys.argv[2:]:
            write_expected(name)
