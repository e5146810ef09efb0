"""Self-supervised fine-tuning of a backbone on stored images: DINO on class tokens, iBOT on hidden patches, KoLeo.

Entry: `sheep.finetune.trainer.fit`. The recipe is DINOv2's (arXiv 2304.07193) cut down to small data.
"""
