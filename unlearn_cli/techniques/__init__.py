"""What methods and measurements have in common once there is a run: stopping, pairing, training, relearning and their like.

A formula that takes tensors alone belongs in `ops`; what reads images, takes steps or tells of its progress belongs here.
"""
