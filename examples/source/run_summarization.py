"""Trains a summarization model on CSV files. It takes the arguments that examples/train.toml sends.

It runs with transformers 4.6 and later. The full script of transformers' own examples has the same
name, takes the same arguments and more: see git_config in examples/train.toml.
"""

import csv
import inspect
import os
from dataclasses import dataclass, field
from typing import Optional

import torch
from transformers import (
    AutoModelForSeq2SeqLM,
    AutoTokenizer,
    DataCollatorForSeq2Seq,
    HfArgumentParser,
    Seq2SeqTrainer,
    Seq2SeqTrainingArguments,
)


@dataclass
class Arguments:
    model_name_or_path: str = field(metadata={"help": "a name of the hub, or a folder"})
    train_file: str = field(metadata={"help": "a CSV file with a header"})
    validation_file: Optional[str] = None
    text_column: str = "text"
    summary_column: str = "summary"
    source_prefix: str = ""
    max_source_length: int = 1024
    max_target_length: int = 128


class Documents(torch.utils.data.Dataset):
    """The rows of a CSV file, each tokenized when it is asked for."""

    def __init__(self, path, arguments, tokenizer):
        with open(path, newline="", encoding="utf-8") as file:
            self.rows = list(csv.DictReader(file))
        self.arguments = arguments
        self.tokenizer = tokenizer

    def __len__(self):
        return len(self.rows)

    def __getitem__(self, index):
        row, arguments, tokenizer = self.rows[index], self.arguments, self.tokenizer
        text = arguments.source_prefix + row[arguments.text_column]
        features = tokenizer(text, max_length=arguments.max_source_length, truncation=True)
        summary, limit = row[arguments.summary_column], arguments.max_target_length
        if hasattr(tokenizer, "as_target_tokenizer"):
            with tokenizer.as_target_tokenizer():
                labels = tokenizer(summary, max_length=limit, truncation=True)
        else:
            labels = tokenizer(text_target=summary, max_length=limit, truncation=True)
        return {
            "input_ids": features["input_ids"],
            "attention_mask": features["attention_mask"],
            "labels": labels["input_ids"],
        }


def main():
    parser = HfArgumentParser((Arguments, Seq2SeqTrainingArguments))
    arguments, training = parser.parse_args_into_dataclasses()
    tokenizer = AutoTokenizer.from_pretrained(arguments.model_name_or_path)
    model = AutoModelForSeq2SeqLM.from_pretrained(arguments.model_name_or_path)

    def documents(path):
        return Documents(path, arguments, tokenizer) if path else None

    # transformers 5 knows the tokenizer by another name.
    names = inspect.signature(Seq2SeqTrainer.__init__).parameters
    named = "processing_class" if "processing_class" in names else "tokenizer"
    trainer = Seq2SeqTrainer(
        model=model,
        args=training,
        train_dataset=documents(arguments.train_file),
        eval_dataset=documents(arguments.validation_file),
        data_collator=DataCollatorForSeq2Seq(tokenizer, model=model),
        **{named: tokenizer},
    )
    if training.do_train:
        trainer.train()
        # SageMaker packs what lies here when the job ends.
        trainer.save_model(os.environ.get("SM_MODEL_DIR", training.output_dir))
    if training.do_eval:
        trainer.log(trainer.evaluate())


if __name__ == "__main__":
    main()
