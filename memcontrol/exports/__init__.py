"""What was trained, in the formats of others: diffusers, kohya's (A1111, ComfyUI), and model cards."""

from memcontrol.exports.kohya import write_kohya
from memcontrol.exports.lora import write_lora
from memcontrol.exports.model_card import write_model_card
from memcontrol.exports.pipeline_folder import write_pipeline

__all__ = ["write_kohya", "write_lora", "write_model_card", "write_pipeline"]
