"""Mapping files: the model of the format, the loader with line numbers, transforms, evaluation.

mapping = load(text, file="mappings/affiliates.toml", target_options=CsvFile.TargetOptions, source_names=[…])
mapping.run_examples()        # problems: examples that don't hold
mapping.target("local/Affiliates")
mapping.evaluate(record)      # rows, or why there is none
"""

from connector.core.mapping.loader import load
from connector.core.mapping.mapping import Evaluation, Mapping, Unshaped
from connector.core.mapping.model import json_schema
from connector.core.mapping.paths import PATHS

__all__ = ["PATHS", "Evaluation", "Mapping", "Unshaped", "json_schema", "load"]
