"""Models and tokenizers: found by hub id, folder or embedded name, named by content, loaded with float32 weights."""

from __future__ import annotations

import contextlib
import copy
import importlib
import pickle
import re
import sys
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, NamedTuple

import torch
from torch import nn

from flue_bench.data import embedded, hub, model_names
from flue_bench.data.model_files import BIN, SAFETENSORS, TOKENIZER_FILES, by_number, hashes, matching
from flue_bench.errors import ModelError
from flue_bench.files import as_text
from flue_bench.kinds.names import generic, matched
from flue_bench.kinds.network.network import Network, network_of
from flue_bench.kinds.network.sentence import SENTENCE
from flue_bench.memory import loading
from flue_bench.progress import quiet
from flue_bench.record import Distilled, ModelRef, OwnHead, Training, digest_of
from flue_bench.task import LABELS, Task
from flue_bench.training import heads
from flue_bench.training.folder import (
    alone,
    check_config,
    check_index,
    check_numbers,
    check_parameters,
    check_pointers,
    check_size,
    loaded_weights,
    other_weights,
    own_switches,
    read_json,
    root_of,
)

DISTILLATION = embedded.DISTILLATION
CARD = "README.md"
"""The model's card; it is not part of the identity either."""
TRAINER_STATE = "trainer_state.json"
"""What transformers' ``Trainer`` writes beside a checkpoint's weights."""
CHECKPOINT = re.compile(r"checkpoint-\d+")
"""The name of a checkpoint's folder, which says nothing without that of the folder around it."""

SAMPLE = (
    "Où est l'élève ? Ça, c'est une très vieille forêt : on y entendait autrefois des chouettes, et les gardes y "
    "ramassaient des châtaignes jusqu'aux premières gelées. Depuis l'automne dernier, plusieurs habitants du village "
    "demandent qu'un sentier soit rouvert, pour que les enfants puissent traverser sans danger. Le conseil municipal "
    "a promis d'y réfléchir, mais personne n'a encore reçu de réponse."
)
"""Text that a tokenizer must be able to read."""

APART = 0.8
"""Sub-words per character of ``SAMPLE``, without blanks, from which a tokenizer is considered broken.

Measured on it: 0.26 for CamemBERT's, 0.31 for a multilingual E5's, 0.28 for byte-level BPE of 22,000 French entries and
0.45 of 1,000, 0.64 for one trained on English alone. One that has lost its merges gives characters or bytes, 1.0 to
1.2; if it also drops letters with accents, 0.9.
"""
FEW = 1000
"""Entries up to which a vocabulary may consist of characters or bytes by design, as ByT5's 384."""


@dataclass(frozen=True)
class Resolved:
    """A model on this disk, with its identity."""

    ref: ModelRef
    folder: Path
    config: Any
    """A transformers configuration."""
    notes: tuple[str, ...] = ()
    """Notes on it for the record."""
    tokenizer_digest: str = field(default="", compare=False)
    """Models with the same digest share encoded data."""


def resolve(name: str, offline: bool = False) -> Resolved:
    """Find a model: ``embedded:NAME``, a folder, or a hub id with an optional ``@revision``.

    Raises:
        ModelNotFoundError: no such folder or repository.
        UnknownNameError: no such embedded model.
        HubError: the hub refused or failed; OfflineError if it cannot be reached and the cache lacks the model.
        ModelError: it exists, but without configuration, weights or tokenizer, or it needs code of its own.
    """
    origin, shown, located, revision = model_names.read(name)
    if located is None:
        snapshot = _fetch(shown, revision, offline)
        folder, revision = snapshot.folder, snapshot.commit
    else:
        folder = located

    present = sorted(path.name for path in folder.iterdir() if path.is_file())
    weights = matching(present, SAFETENSORS) or matching(present, BIN)
    models_inside = any(folder.glob("*/config.json"))
    if not weights and not models_inside and (said := other_weights((*present, *_below(folder)), folder)):
        raise ModelError(f"{folder} {said}")
    if "config.json" not in present:
        raise ModelError(f"{folder} has no config.json: not a transformers model folder. {_instead(folder)}")
    if not weights:
        raise ModelError(f"{folder} has no weights (model.safetensors or pytorch_model.bin). {_instead(folder)}")
    kind: Literal["safetensors", "bin"] = "safetensors" if weights[0].startswith("model") else "bin"
    notes: tuple[str, ...] = ()
    if kind == "bin":
        notes += ("no safetensors: pytorch_model.bin was read with weights_only=True",)
    if not matching(present, TOKENIZER_FILES[:1] + TOKENIZER_FILES[4:]):
        raise ModelError(f"{shown} has no tokenizer files ({folder}); save its tokenizer there.")
    tokenizer_files = matching(present, TOKENIZER_FILES)
    check_pointers(folder, shown, ("config.json", *weights, *tokenizer_files))
    check_index(folder, shown, weights)
    config = read_config(folder, shown)
    weights_bytes = sum((folder / file).stat().st_size for file in loaded_weights(folder, weights))
    check_size(config, width(config), weights_bytes, shown)
    if config.model_type in OFFSET_POSITIONS and config.pad_token_id is None:
        raise ModelError(
            f"{shown}: config.json has no pad_token_id, from which {config.model_type} counts positions. "
            "Set it to the id of its tokenizer's padding token (of CamemBERT and RoBERTa: 1)."
        )
    if "auto_map" in read_json(folder / "config.json"):
        notes += (f"the repository's own code was not run: transformers' {config.model_type} stands for it",)
    try:
        files = hashes(folder, weights, tokenizer_files, root_of(folder))
    except OSError as error:
        raise ModelError(f"{error.filename} cannot be read: {error.strerror}. Put the file itself there.") from None
    check_numbers(folder, shown, loaded_weights(folder, weights))
    return Resolved(
        ref=ModelRef(
            name=shown,
            origin=origin,
            revision=revision,
            digest=digest_of(files),
            weights=kind,
            teacher=_teacher(folder),
            training=_training(folder, shown if origin == "hub" else ""),
            weights_bytes=weights_bytes,
            distilled=_distilled(folder),
        ),
        folder=folder,
        config=config,
        notes=notes,
        # The type of the model chooses the tokenizer's class where the files do not, and whether it marks segments.
        tokenizer_digest=digest_of(
            [config.model_type, _has_segments(config), {file: files[file] for file in tokenizer_files}]
        ),
    )


def load_tokenizer(model: Resolved) -> Any:
    """Load the model's own tokenizer and check that it fits the model.

    Raises:
        ModelError: it cannot be read, has no padding token, has another size than the vocabulary, or knows no French.
    """
    tokenizer = read_tokenizer(model.folder, model.ref.name)
    try:
        _check_tokenizer(tokenizer, model)
    except ModelError:
        raise
    except Exception as error:  # its settings may be of any type, and fail only when they are used
        raise ModelError(f"The tokenizer of {model.ref.name} cannot be used: {first_line(error)}.") from error
    return tokenizer


def _check_tokenizer(tokenizer: Any, model: Resolved) -> None:
    size, vocabulary = len(tokenizer), getattr(model.config, "vocab_size", None)
    if vocabulary and (size > vocabulary or size < vocabulary // 2):
        raise ModelError(
            f"The tokenizer of {model.ref.name} has {size:,} entries, the model's vocabulary {vocabulary:,}: "
            "they do not belong together. Put the model's own tokenizer files beside its weights."
        )
    if tokenizer.pad_token_id is None:
        raise ModelError(f"The tokenizer of {model.ref.name} has no padding token: add one to tokenizer_config.json.")
    if not _has_segments(model.config):  # BERT's tokenizer beside a DistilBERT, say
        tokenizer.model_input_names = [name for name in tokenizer.model_input_names if name != "token_type_ids"]
    check_french(tokenizer, model.ref.name)


def read_tokenizer(folder: Path, name: str) -> Any:
    """Load the tokenizer whose files are in a folder; ``name`` is what messages call it.

    Raises:
        ModelError: it cannot be loaded.
    """
    from transformers import AutoTokenizer

    try:
        with alone(folder, ("config.json", *_there(folder, TOKENIZER_FILES)), name) as view:
            return AutoTokenizer.from_pretrained(view, local_files_only=True, trust_remote_code=False)
    except ModelError:
        raise
    except ImportError as error:
        raise ModelError(
            f"The tokenizer of {name} needs a package that is not installed: {first_line(error)}.\n"
            "FlauBERT's comes with: pip install 'flue-bench[flaubert]'."
        ) from error
    except Exception as error:  # transformers raises whatever its readers raise
        raise ModelError(f"The tokenizer of {name} cannot be loaded: {first_line(error)}.") from error


def check_french(tokenizer: Any, name: str) -> None:
    """Check that a tokenizer reads French.

    Raises:
        ModelError: it maps the text to its unknown token, or cuts it into single characters though it knows words.
    """
    import transformers

    # Not `tokenize`, which shows unknown text as it is, and not unk_token_id: camembert-base's files have two of them.
    pieces = tokenizer.convert_ids_to_tokens(tokenizer(SAMPLE, add_special_tokens=False, verbose=False)["input_ids"])
    if not pieces or 2 * pieces.count(tokenizer.unk_token) > len(pieces):
        raise ModelError(f"The tokenizer of {name} maps French text to '{tokenizer.unk_token}': wrong files?")
    rate = len(pieces) / len("".join(SAMPLE.split()))
    if rate > APART and len(tokenizer) > FEW:
        raise ModelError(
            f"The tokenizer of {name} cuts French into characters: {rate:.2f} sub-words a character, the usual being "
            f"0.25 to 0.45. transformers {transformers.__version__} builds something else than its files mean.\n"
            'If tokenizer.json is the model\'s own, set "tokenizer_class": "PreTrainedTokenizerFast" in '
            "tokenizer_config.json to read it unchanged."
        )


OFFSET_POSITIONS = {
    "camembert", "data2vec-text", "esm", "ibert", "layoutlmv3", "lilt", "longformer", "luke", "markuplm", "mpnet",
    "roberta", "roberta-prelayernorm", "xlm-roberta", "xlm-roberta-xl", "xmod",
}  # fmt: skip
"""Model types that count positions as RoBERTa does: all of those in transformers with a classification head."""


def _has_segments(config: Any) -> bool:
    """Return whether the model distinguishes the two texts of a pair by a segment embedding."""
    return (getattr(config, "type_vocab_size", None) or 0) > 1


def width(config: Any) -> int:
    """Return the hidden size, whatever the architecture calls it."""
    names = ("hidden_size", "emb_dim", "dim")
    return next((int(size) for name in names if (size := getattr(config, name, None))), 0)


def max_positions(config: Any) -> int | None:
    """Return the most sub-words per row, special tokens included; None if positions are not bounded."""
    positions = getattr(config, "max_position_embeddings", None)
    if positions is None or positions <= 0:
        return None
    # RoBERTa's family counts positions from padding_idx + 1, so that two of its 514 are never used.
    return int(positions) - (config.pad_token_id + 1 if config.model_type in OFFSET_POSITIONS else 0)


class Loaded(NamedTuple):
    """An encoder with a head, ready to be fine-tuned."""

    network: nn.Module
    """Float32, on the CPU."""
    notes: tuple[str, ...]
    """Notes for the record."""
    head: OwnHead
    """What was done with the checkpoint's own head."""


def load_model(model: Resolved, task: Task, seed: int, dropout: float | None) -> Loaded:
    """Load the encoder with a classification head for the task.

    A head in the checkpoint is kept if its labels are those of the task by name (rows in the task's order); otherwise
    the network starts as from the same checkpoint without a head.

    Args:
        model: the resolved model.
        task: gives kind and labels of the head.
        seed: for weights that the checkpoint lacks (the head, for some a pooler).
        dropout: replaces the model's own everywhere; None keeps it.

    Raises:
        ModelError: the architecture has no such head, or weights are missing or not finite.
    """
    kind = network_of(task)
    network, info = _load(model, kind.loader(), _configured(model, kind, task.labels, dropout), seed)
    notes = _check_weights(network, info, model)
    own = _own_head(network, info, model, task.labels)
    if own.leave_out:
        kept = {name: value for name, value in network.state_dict().items() if name not in own.leave_out}
        torch.manual_seed(seed)
        with quiet("transformers"), without_bars():
            network = type(network).from_pretrained(
                None, config=network.config, state_dict=kept, dtype=torch.float32, local_files_only=True
            )
    if own.order:
        heads.permute(network.get_submodule(own.layer), own.order)
    return Loaded(network, (*notes, own.note) if own.note else notes, own.head)


LONGEST_LABEL = 1000
"""Characters of a label's name, as a record holds it."""


def own_labels(model: Resolved, task: Task) -> list[str]:
    """Return the labels of a checkpoint's own head, in the order of its rows; no weights are read.

    Raises:
        ModelError: its configuration has no head that fits the task's kind, or does not name its labels.
    """
    config, kind = read_json(model.folder / "config.json"), network_of(task)
    architectures = [str(name) for name in config.get("architectures") or ()]
    if not any(kind.fits(name, model.config) for name in architectures):
        said = f"is saved as {', '.join(architectures)}" if architectures else "does not say what head it has"
        raise ModelError(
            f"{model.ref.name} {said}, but {task.name} needs a fine-tuned For{kind.head}: flue-bench run fine-tunes it."
        )
    if reason := kind.unfit(config):
        raise ModelError(f"{model.ref.name} on {task.name}: {reason}.")
    id2label = config.get("id2label")
    # transformers writes no table for the two labels that it supposes.
    rows = len(id2label) if isinstance(id2label, dict) else int(getattr(model.config, "num_labels", 0) or 0)
    labels = heads.names_of(id2label if id2label else dict(model.config.id2label or {}), rows)
    if labels is None or len({*labels}) != len(labels):
        raise ModelError(f"{model.ref.name}: 'id2label' in config.json does not give each row of its head a name.")
    if len(labels) > LABELS or any(len(label) > LONGEST_LABEL for label in labels):
        raise ModelError(
            f"{model.ref.name}: config.json names {len(labels):,} labels, the longest of {max(map(len, labels)):,} "
            f"characters; up to {LABELS:,} of {LONGEST_LABEL:,} are read."
        )
    return labels


def load_own_head(model: Resolved, task: Task, labels: Sequence[str]) -> nn.Module:
    """Load a checkpoint with the head that it was fine-tuned with, float32 on the CPU; nothing in it is random.

    Args:
        model: the resolved model.
        task: gives the kind of the head.
        labels: from ``own_labels``.

    Raises:
        ModelError: the architecture has no such head, or weights are missing, of another size or not finite.
    """
    kind = network_of(task)
    network, info = _load(model, kind.loader(), _configured(model, kind, labels, dropout=None), seed=0)
    _check_weights(network, info, model)
    if lost := sorted({*map(str, info["missing_keys"]), *(str(key[0]) for key in info["mismatched_keys"])}):
        raise ModelError(
            f"{model.ref.name}: the checkpoint has no fitting weights for {len(lost)} tensors of its head "
            f"(first: {lost[0]}), so that it cannot be scored as it is. Is config.json that of these weights?"
        )
    loaded: nn.Module = network
    return loaded


def load_encoder(model: Resolved) -> nn.Module:
    """Load the bare encoder as a sentence classifier holds it, float32 on the CPU.

    Raises:
        ModelError: as for ``load_model``.
    """
    network, info = _load(model, SENTENCE.loader(), _configured(model, SENTENCE, ("0", "1"), dropout=None), seed=0)
    _check_weights(network, info, model)
    encoder: nn.Module = network.base_model
    return encoder


def load_masked_lm(model: Resolved) -> Any:
    """Load a transformers masked language model, float32 on the CPU.

    Raises:
        ModelError: the architecture has no such head, or weights are missing, of another size or not finite.
    """
    from transformers import AutoModelForMaskedLM

    network, info = _load(model, AutoModelForMaskedLM, copy.deepcopy(model.config), seed=0)
    _check_prefix(network, info, model)
    if unfit := sorted({*map(str, info["missing_keys"]), *(str(key[0]) for key in info["mismatched_keys"])}):
        raise ModelError(
            f"{model.ref.name} is not a complete masked LM: its checkpoint has no fitting weights for "
            f"{len(unfit)} tensors (first: {unfit[0]}). A model without its masked-LM head cannot be distilled."
        )
    return network


def _configured(model: Resolved, kind: Network[Any], labels: Sequence[str], dropout: float | None) -> Any:
    """Return the model's configuration for a head with these labels."""
    config = copy.deepcopy(model.config)
    kind.configure(config, labels)
    if dropout is not None:
        for name in vars(config).keys() & DROPOUTS:
            setattr(config, name, dropout)
    return config


@contextlib.contextmanager
def without_bars() -> Iterator[None]:
    """Keep transformers from drawing bars of its own during a block."""
    import transformers

    log: Any = transformers.utils.logging
    shown = log.is_progress_bar_enabled()
    log.disable_progress_bar()
    try:
        yield
    finally:
        if shown:
            log.enable_progress_bar()


def _load(model: Resolved, loader: Any, config: Any, seed: int) -> tuple[Any, dict[str, Any]]:
    """Load the network, check that its weights are finite, and return it with its loading information.

    ``loader`` is that of ``Network.loader``; ``seed`` is for weights that the checkpoint lacks.
    """
    if "transformers.modeling_utils" not in sys.modules:  # transformers loads its parts when they are first used
        with loading():
            importlib.import_module("transformers.modeling_utils")
    with quiet("transformers"):
        check_parameters(loader, config, model.ref.weights_bytes or 0, model.ref.name)
    torch.manual_seed(seed)
    try:
        weights = SAFETENSORS if model.ref.weights == "safetensors" else BIN
        shown = alone(model.folder, ("config.json", *_there(model.folder, weights)), model.ref.name)
        with quiet("transformers"), without_bars(), shown as view:
            loaded, info = loader.from_pretrained(
                view,
                config=config,
                dtype=torch.float32,  # a half-precision checkpoint is NaN after one AdamW step
                use_safetensors=model.ref.weights == "safetensors",
                weights_only=True,
                ignore_mismatched_sizes=True,  # a head of another task; the body is checked below
                output_loading_info=True,
                local_files_only=True,
                trust_remote_code=False,
            )
    except ModelError:
        raise
    except pickle.UnpicklingError as error:
        raise ModelError(
            f"{model.ref.name}: pytorch_model.bin holds more than tensors, and flue-bench unpickles nothing "
            "else. If you trust it, convert it to safetensors."
        ) from error
    except Exception as error:
        raise ModelError(f"{model.ref.name} cannot be loaded as {loader.__name__}: {first_line(error)}.") from error
    for name, parameter in loaded.named_parameters():
        if not torch.isfinite(parameter).all():
            raise ModelError(f"{model.ref.name}: weight '{name}' is not finite (NaN or infinity) in the checkpoint.")
    _align(loaded)
    return loaded, info


ALIGNED = 64
"""Bytes; where PyTorch puts a tensor that it allocates begins at a multiple of them."""


def _align(network: nn.Module) -> None:
    """Copy the tensors that begin where their place in a file wants it, and not where PyTorch would have put them.

    Some products round otherwise where a matrix is not aligned (MKL's with a vector, on an AMD CPU): the same weights
    in another file gave other bits.
    """
    for tensor in (*network.parameters(), *network.buffers()):
        if tensor.data_ptr() % ALIGNED:
            tensor.data = tensor.data.clone()


DROPOUTS = {
    "hidden_dropout_prob", "attention_probs_dropout_prob", "classifier_dropout", "dropout", "attention_dropout",
    "seq_classif_dropout", "pooler_dropout", "embedding_dropout", "mlp_dropout",
    "summary_first_dropout", "summary_last_dropout",
}  # fmt: skip
"""Names of dropout rates in transformers' configurations."""


def _check_weights(network: Any, info: dict[str, Any], model: Resolved) -> tuple[str, ...]:
    """Check what from_pretrained only warns of: missing body weights are an error, a pooler or head gives a note."""
    body = network.base_model_prefix + "."
    missing = {str(key) for key in info["missing_keys"]} | {str(key[0]) for key in info["mismatched_keys"]}
    body_keys = {key for key in network.state_dict() if key.startswith(body)}
    lost = sorted(key for key in missing & body_keys if "pooler" not in key)
    if lost:
        _check_prefix(network, info, model)
        raise ModelError(
            f"{model.ref.name}: the checkpoint has no fitting weights for {len(lost)} of {len(body_keys)} tensors of "
            f"its {model.config.model_type} encoder (first: {lost[0]}). Is config.json that of these weights?"
        )
    if any("pooler" in key for key in missing):
        return ("the checkpoint has no pooler: it starts random, from the seed",)
    return ()


WRAPPERS = {
    "_orig_mod.": "torch.compile's: save `model._orig_mod`",
    "module.": "DataParallel's or DistributedDataParallel's: save `model.module`",
    "base_model.model.": "PEFT's: save `model.merge_and_unload()`",
}
"""Prefix of the names of tensors → the wrapper that gives it, and what to save instead."""


def _check_prefix(network: Any, info: dict[str, Any], model: Resolved) -> None:
    """Raise ModelError if the checkpoint has the weights that are missing, under names with a prefix."""
    missing = [str(key) for key in info["missing_keys"]]
    body = f"{network.base_model_prefix}."
    there = {str(key) for key in info["unexpected_keys"]}
    wanted = [key for key in missing if key.startswith(body)]
    if 2 * len(wanted) > sum(key.startswith(body) for key in network.state_dict()):
        for names in (wanted, [key.removeprefix(body) for key in wanted]):
            for prefix in {name.removesuffix(names[0]) for name in there if name.endswith(f".{names[0]}")}:
                if 2 * sum(f"{prefix}{name}" in there for name in names) > len(names):
                    whose = WRAPPERS.get(prefix, "a wrapper's: save the transformers model inside it")
                    raise ModelError(
                        f"{model.ref.name}: the names of its tensors begin with '{prefix}', which is {whose} "
                        "with `save_pretrained`."
                    )


class _Brought(NamedTuple):
    """The head that a checkpoint brought, and what to do with it."""

    head: OwnHead
    note: str = ""
    layer: str = ""
    """The module that scores the labels."""
    order: tuple[int, ...] = ()
    """The row of each label, if they are in another order."""
    leave_out: frozenset[str] = frozenset()
    """Tensors that the network must not start from; empty if it does not anyway."""


FINE_TUNED = ("Classification", "QuestionAnswering", "MultipleChoice")
"""Parts of architecture names that mark a head fine-tuned on some task."""


def _own_head(network: Any, info: dict[str, Any], model: Resolved, labels: Sequence[str]) -> _Brought:
    """Return the checkpoint's head for scoring labels, and what to do with it."""
    config = read_json(model.folder / "config.json")
    was = next((str(name) for name in config.get("architectures") or () if any(k in name for k in FINE_TUNED)), None)
    mismatched = {str(key[0]) for key in info["mismatched_keys"]}
    missing = {str(key) for key in info["missing_keys"]} - mismatched
    outside = {key for key in network.state_dict() if not key.startswith(f"{network.base_model_prefix}.")}
    layer = heads.last_layer(network, len(labels)) or ""
    brought = f"{layer}.weight" in outside - missing
    if not brought and was is None:
        return _Brought("absent")
    names = heads.names_of(config.get("id2label"), len(labels))
    if brought and names and not outside & (missing | mismatched) and (order := matched(names, labels)):
        if order == tuple(range(len(order))):
            return _Brought("kept", "the checkpoint's own head has these labels: fine-tuning starts from it")
        note = f"the checkpoint's own head has these labels as {_listed(names)}: its rows were put in the task's order"
        return _Brought("permuted", f"{note}, and fine-tuning starts from it", layer, order)
    theirs = config["id2label"].values() if isinstance(config.get("id2label"), dict) else ()
    said = f"labels {_listed(theirs)}" if theirs and not generic(map(str, theirs)) else "labels without names"
    note = f"the checkpoint was fine-tuned as {was or 'a classifier'} ({said}): a new head starts from the seed"
    loaded = outside - missing - mismatched
    leave_out = loaded - _pretrained(network, loaded) if loaded else set()
    return _Brought("replaced", note, leave_out=frozenset(leave_out | missing | mismatched if leave_out else ()))


def _pretrained(network: Any, names: set[str]) -> set[str]:
    """Return those of these tensors that a masked language model of this type also has: they are pretrained."""
    from transformers import AutoModelForMaskedLM

    try:
        with torch.device("meta"):
            known = AutoModelForMaskedLM.from_config(network.config).state_dict()  # type: ignore[no-untyped-call]
    except Exception:  # transformers knows no masked language model of this type
        return set()
    state = network.state_dict()
    return {name for name in names if name in known and known[name].shape == state[name].shape}


def _listed(names: Iterable[Any]) -> str:
    shown = [str(name) for name in names]
    return ", ".join(shown[:6]) + (f" and {len(shown) - 6} more" if len(shown) > 6 else "")


def _fetch(repo_id: str, revision: str | None, offline: bool) -> hub.Snapshot:
    """Fetch configuration, tokenizer, one set of weights (safetensors if any), the card, and how it was trained."""
    present = hub.files(repo_id, repo_type="model", revision=revision, offline=offline)
    weights = SAFETENSORS if matching(present, SAFETENSORS) else BIN
    if not matching(present, weights) and (said := other_weights(present, repo_id)):
        raise ModelError(f"{repo_id} {said}")
    patterns = ("config.json", *weights, *TOKENIZER_FILES, DISTILLATION, TRAINER_STATE, CARD)
    wanted = [pattern for pattern in patterns if matching(present, [pattern])]
    return hub.fetch(repo_id, repo_type="model", revision=revision, patterns=wanted, offline=offline)


def read_config(folder: Path, name: str) -> Any:
    """Read the transformers configuration in a folder; ``name`` is what messages call the model.

    Raises:
        ModelError: transformers cannot use it, or it needs code of its own.
    """
    from transformers import AutoConfig

    check_config(folder, name)
    try:
        with alone(folder, ["config.json"], name) as view:
            config = AutoConfig.from_pretrained(view, local_files_only=True, trust_remote_code=False)
        own_switches(config)
        return config
    except ModelError:
        raise
    except Exception as error:
        if "auto_map" in read_json(folder / "config.json"):
            raise ModelError(
                f"{name} needs code of its own (trust_remote_code), which flue-bench never runs."
            ) from None
        raise ModelError(f"{name}: config.json cannot be used: {first_line(error)}.") from error


def _teacher(folder: Path) -> str | None:
    """Return the digest of the model that this one was distilled from, if the folder states it."""
    return embedded.teacher_in(read_json(folder / DISTILLATION))


def _training(folder: Path, repository: str) -> Training | None:
    """Return how far the training of this model had come, if the folder states it."""
    name = repository or as_text(folder.parent.name if CHECKPOINT.fullmatch(folder.name) else folder.name)
    made, state = read_json(folder / DISTILLATION), read_json(folder / TRAINER_STATE)
    cost = made.get("cost")
    if isinstance(cost, dict):
        same = [made.get(key) for key in ("protocol", "recipe", "corpus", "teacher", "student")]
        step, tokens = cost.get("steps"), cost.get("tokens")
    else:  # transformers' Trainer; it counts tokens if it is asked to, and writes 0 if not
        same = [state.get(key) for key in ("max_steps", "num_train_epochs", "train_batch_size", "save_steps")]
        step, tokens = state.get("global_step"), state.get("num_input_tokens_seen") or None
    try:
        return Training(name=name, digest=digest_of([name, same]), step=step, tokens=tokens)
    except (ValueError, RecursionError):  # a stranger's file
        return None


def _distilled(folder: Path) -> Distilled | None:
    """Return by which recipe and with which seed the model was distilled, if the folder states it."""
    made = read_json(folder / DISTILLATION)
    recipe, corpus, cost = (
        each if isinstance(each := made.get(key), dict) else {} for key in ("recipe", "corpus", "cost")
    )
    seed = recipe.get("seed")
    if type(seed) is not int or "digest" not in corpus:
        return None
    refs = (made.get("teacher"), made.get("student"))
    models = [ref.get("digest") if isinstance(ref, dict) else None for ref in refs]  # their names may be paths
    decides = {key: value for key, value in recipe.items() if key not in _NOT_OF_THE_WEIGHTS}
    # The steps are the recipe's, unless the student was left on the way.
    said = [made.get("protocol"), decides, models, corpus["digest"], cost.get("steps")]
    said += [changes] if (changes := made.get("changes")) else []  # on the way, by somebody's hand
    try:
        return Distilled(recipe=digest_of(said), seed=seed)
    except (ValueError, RecursionError):  # a seed that is none
        return None


_NOT_OF_THE_WEIGHTS = frozenset(
    ("seed", "teacher", "student", "evaluate_steps", "evaluate_sequences", "checkpoint_seconds")
)
"""Fields of a distillation's recipe that are the seed, name models, or leave the weights as they are."""


def _there(folder: Path, patterns: Sequence[str]) -> list[str]:
    """Names of the files of a folder that fit one of the patterns."""
    return matching([path.name for path in folder.iterdir() if path.is_file()], patterns)


def _instead(folder: Path) -> str:
    """Return advice for a folder whose folders hold models: of a Trainer's checkpoints, the newest."""
    inside = sorted((path.parent.name for path in folder.glob("*/config.json")), key=by_number)
    checkpoints = [name for name in inside if CHECKPOINT.fullmatch(name)]
    best = (checkpoints[-1:] or inside[:1] or [""])[0]
    return f"Did you mean {folder.name}/{best}?" if best else "Is the path right?"


def _below(folder: Path) -> list[str]:
    """Names of the files in the subdirectories of a folder, where other formats of weights often lie."""
    return [path.relative_to(folder).as_posix() for path in folder.glob("*/*") if path.is_file()]


def first_line(error: Exception) -> str:
    """Return the first line of an error's message, without its final full stop."""
    lines = str(error).strip().splitlines() or [type(error).__name__]
    said = " ".join(lines[:2]) if lines[0].endswith(":") else lines[0]
    return said.rstrip(".")[:300]
