"""Self-supervised fine-tuning of a backbone on stored images: DINO on class tokens, iBOT on masked patches, KoLeo.

Entry points: `sheep.finetune.stage.run` for a study, `sheep.finetune.trainer.train` for the training loop alone. The
recipe is DINOv2's (arXiv 2304.07193), scaled down to small data.
"""
