"""The nano model's tokenizer: the words of its world, lower case, everything else <unk>, closed by </s> as in T5."""

from __future__ import annotations

from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors
from transformers import PreTrainedTokenizerFast

from wan_model.nano.captions import vocabulary

PAD, END, UNKNOWN = "<pad>", "</s>", "<unk>"


def build_tokenizer(*, text_len: int) -> PreTrainedTokenizerFast:
    """A tokenizer that `save_pretrained` writes and transformers' `AutoTokenizer` reads."""
    words = {word: index for index, word in enumerate((PAD, END, UNKNOWN, *vocabulary()))}
    tokenizer = Tokenizer(models.WordLevel(words, unk_token=UNKNOWN))
    tokenizer.normalizer = normalizers.Lowercase()
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([pre_tokenizers.WhitespaceSplit(), pre_tokenizers.Punctuation()])
    tokenizer.post_processor = processors.TemplateProcessing(single=f"$A {END}", special_tokens=[(END, words[END])])
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, pad_token=PAD, eos_token=END, unk_token=UNKNOWN, model_max_length=text_len
    )
